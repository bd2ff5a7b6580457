"""The gate: the same run has the same outcome, by whatever way a task waits for it."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    GatePolicy,
    InvalidRequestError,
    TestRun,
)
from empirical_provider import exceptions as core
from empirical_provider.airflow import exceptions as host
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from tests.airflow.standins import (
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
    TaskInstance,
    gate,
    run,
    sensor,
)
from tests.core.test_verdict import CASES

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once")


@pytest.mark.parametrize(
    ("scripted", "policy", "outcome", "raised"),
    [
        ("passed", None, "passed", None),
        ("snoozed", None, "passed", None),
        ("snoozed", {"count_snoozed_failures": True}, "failed", host.EmpiricalTestsFailedError),
        ("flaky", None, "passed", None),
        ("flaky", {"max_flaky": 0}, "failed", host.EmpiricalTestsFailedError),
        ("failed", None, "failed", host.EmpiricalTestsFailedError),
        ("failed", {"failed": "pass"}, "failed", None),
        ("failed", {"failed": "skip"}, "failed", AirflowSkipException),
        ("error", None, "error", host.EmpiricalRunErroredError),
        ("error", GatePolicy(error="skip"), "error", AirflowSkipException),
        ("cancelled", None, "cancelled", host.EmpiricalRunCancelledError),
        ("superseded", None, "superseded", host.EmpiricalRunSupersededError),
        ("no_tests", None, "no_tests", host.EmpiricalNoTestsError),
        ("no_tests", {"min_tests": 0}, "passed", None),
        ("incomplete", None, "incomplete", host.EmpiricalRunIncompleteError),
        ("incomplete", {"incomplete": "pass"}, "incomplete", None),
        ("passed", {"min_tests": 100}, "no_tests", host.EmpiricalNoTestsError),
        ("passed", {"passed": "fail"}, "passed", host.EmpiricalGateClosedError),
        ("stuck", None, "timed_out", host.EmpiricalWaitTimedOutError),
        ("stuck", {"timed_out": "pass"}, "timed_out", None),
        ("pending", {"timed_out": "skip"}, "timed_out", AirflowSkipException),
    ],
)
def test_every_outcome_is_the_same_in_every_way_to_wait(  # noqa: PLR0917  # a table
    scripted: str,
    policy: Any,
    outcome: str,
    raised: type[Exception] | None,
    wait: Callable[..., Any],
    empirical: Emulator,
) -> None:
    """Outcome, exception class and verdict XCom depend on the run and the policy, on nothing else.

    A closed gate raises Airflow's exception and the core's in one, and only red tests are final.
    """
    empirical.script("staging", scripted)
    ti = TaskInstance()
    given = {"policy": policy, "timeout": 0.3 if outcome == "timed_out" else 60}
    if raised is None:
        assert wait(ti, **given) == empirical.runs[0].id
    else:
        with pytest.raises(raised) as error:
            wait(ti, **given)
        assert type(error.value) is raised
        assert str(error.value).startswith(f"Empirical test run {empirical.runs[0].id}")
        assert f"/acme/test-runs/{empirical.runs[0].id}" in str(error.value)
        if raised is not AirflowSkipException:
            final = raised in {
                host.EmpiricalTestsFailedError,
                host.EmpiricalGateClosedError,
                host.EmpiricalRunIncompleteError,
            }
            assert isinstance(error.value, AirflowFailException) is final
            assert error.value.verdict == ti.xcoms["verdict"]
            assert isinstance(error.value, core.GateClosedError)
    assert ti.xcoms["verdict"]["outcome"] == outcome
    assert ti.xcoms["verdict"]["run_id"] == empirical.runs[0].id
    assert ti.xcoms["test_run_url"] == ti.xcoms["verdict"]["url"]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[TestRun], None]:
    """Return a way to have every look see a run: the local Empirical leaves no counts out."""

    def have(seen: TestRun) -> None:
        def look(_self: EmpiricalClient, run_id: int, **_: Any) -> TestRun:
            return replace(seen, id=run_id)

        async def alook(_self: AsyncEmpiricalClient, run_id: int, **_: Any) -> TestRun:
            return replace(seen, id=run_id)

        monkeypatch.setattr(EmpiricalClient, "get_test_run", look)
        monkeypatch.setattr(AsyncEmpiricalClient, "get_test_run", alook)

    return have


@pytest.mark.parametrize(
    ("seen", "policy", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_cores_table(  # noqa: PLR0917  # fixtures, by name
    seen: TestRun,
    policy: dict[str, Any],
    outcome: str,
    wait: Callable[..., Any],
    answer: Callable[[TestRun], None],
    empirical: Emulator,
) -> None:
    """Each state, count and policy that the core tells apart has its outcome in each way here."""
    answer(seen)
    ti = TaskInstance()
    if outcome == "passed":
        assert wait(ti, policy=policy) == empirical.runs[0].id
    else:
        with pytest.raises(core.GateClosedError) as error:
            wait(ti, policy=policy)
        assert error.value.verdict == ti.xcoms["verdict"]
        is_final = outcome in {"failed", "incomplete"}
        assert isinstance(error.value, AirflowFailException) is is_final
    verdict = ti.xcoms["verdict"]
    assert (verdict["run_id"], verdict["outcome"]) == (empirical.runs[0].id, outcome)
    assert verdict["decision"] == ("pass" if outcome == "passed" else "fail")


def test_a_closed_gate_survives_pickling() -> None:
    """The verdict, the run's id and its page reach another process with the exception."""
    error = host.EmpiricalTestsFailedError(
        "Empirical test run 4 failed", verdict={"outcome": "failed"}, run_id=4, run_url="u"
    )
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("effect", ["status", "drop", "malformed", "truncated", "html"])
def test_trouble_while_looking_is_survived(
    effect: str, wait: Callable[..., Any], empirical: Emulator
) -> None:
    """Looks that fail, in whatever way, do not fail the task while there is time."""
    ti = TaskInstance()
    status = 503 if effect == "status" else None
    empirical.fault("get_test_run", effect, status=status, times=3)
    assert wait(ti) == empirical.runs[0].id
    assert ti.xcoms["verdict"]["outcome"] == "passed"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_wait_for_good(
    status: int, wait: Callable[..., Any], empirical: Emulator, api_key: str
) -> None:
    """A key that is not accepted fails the task, and without a retry; a sensor in reschedule mode,
    which knows nothing of its polls before, fails at its timeout."""
    empirical.fault("get_test_run", "status", status=status, times=None)
    ends = (AirflowFailException, host.EmpiricalWaitTimedOutError)
    with pytest.raises(ends, match=f"answered {status}") as error:
        wait(TaskInstance(), timeout=2)
    assert api_key not in str(error.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_was_rotated_does_not_end_the_wait(
    status: int,
    wait: Callable[..., Any],
    empirical: Emulator,
    connection: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a poll is rejected and the connection has changed since, the wait goes on by what it
    says now, in every way."""
    look_up, times = EmpiricalHook.get_connection, itertools.count(1)

    def changing(conn_id: str) -> Any:
        now = {**connection, "extra": {"timeout": 10 + next(times)}}
        monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(now))
        return look_up(conn_id)

    monkeypatch.setattr(EmpiricalHook, "get_connection", staticmethod(changing))
    empirical.fault("get_test_run", "status", status=status, times=1)
    ti = TaskInstance()
    assert wait(ti) == empirical.runs[0].id
    assert ti.xcoms["verdict"]["outcome"] == "passed"


def test_a_finished_run_never_defers(empirical: Emulator) -> None:
    """The task looks once before it defers, and does not where the run has finished."""
    empirical.script("staging", "failed")
    started = TaskInstance()
    with pytest.raises(TaskDeferred):
        gate(deferrable=True).execute({"ti": started, "logical_date": None})
    empirical.set_state(empirical.runs[0].id, "ended")
    with pytest.raises(host.EmpiricalTestsFailedError):
        sensor(test_run_id=started.xcoms["test_run_id"], deferrable=True).execute(
            {"ti": TaskInstance(), "logical_date": None}
        )


def test_airflows_configuration_says_who_defers(
    empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word of its own a task defers if `[operators] default_deferrable` says so."""
    assert run(gate(), TaskInstance()) == empirical.runs[0].id
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    with pytest.raises(TaskDeferred):
        gate().execute({"ti": TaskInstance(), "logical_date": None})


def test_without_waiting_there_is_no_verdict(
    empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that only starts a run does not look at it, even where tasks defer by default."""
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    ti = TaskInstance()
    assert run(gate(wait_for_completion=False), ti) == empirical.runs[0].id
    assert "verdict" not in ti.xcoms


class Accessor:
    """Stands in for Airflow's accessor of one asset's event."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {"mine": 1}


class Events(dict[Any, Accessor]):
    """Stands in for Airflow's accessors, which know assets only."""

    def __getitem__(self, key: Any) -> Accessor:
        if not isinstance(key, str):
            raise TypeError(key)
        return super().__getitem__(key)


@pytest.mark.parametrize("deferrable", [False, True])
def test_asset_events_say_what_the_gate_found(deferrable: bool, empirical: Emulator) -> None:
    """The event of each outlet carries run, page, outcome and counts; a user's extra stays."""
    events, ti = Events(shop=Accessor()), TaskInstance()
    task = gate(deferrable=deferrable)
    task.outlets = ["shop", object()]
    run(task, ti, outlet_events=events)
    verdict = ti.xcoms["verdict"]
    assert events["shop"].extra == {
        "mine": 1,
        "test_run_id": empirical.runs[0].id,
        "test_run_url": verdict["url"],
        "outcome": "passed",
        "counts": verdict["counts"],
    }
    only_started = Events(shop=Accessor())
    task = gate(wait_for_completion=False)
    task.outlets = ["shop"]
    run(task, TaskInstance(), outlet_events=only_started)
    assert set(only_started["shop"].extra) == {"mine", "test_run_id", "test_run_url"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poll_interval": 0}, "poll_interval must be a number above 0"),
        ({"timeout": "soon"}, "timeout must be a number above 0, not str"),
        ({"start_timeout": -1}, "start_timeout must be a number above 0"),
        ({"start_timeout": 0}, "start_timeout must be a number above 0, not 0"),
        ({"policy": {"pased": "fail"}}, "unknown key 'pased'.*Did you mean 'passed'"),
    ],
)
def test_a_bad_argument_is_told_when_the_dag_is_parsed(
    fields: dict[str, Any], message: str
) -> None:
    """What cannot be waited by is refused by name before anything is started."""
    with pytest.raises(InvalidRequestError, match=message):
        EmpiricalTriggerTestRunOperator(task_id="e2e", **fields)


def test_the_log_tells_the_link_first_and_then_the_progress(
    wait: Callable[..., Any], empirical: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's page comes before its states, and the end has counts and seconds."""
    caplog.set_level("INFO", "empirical_provider")
    wait(TaskInstance())
    url = f"/acme/test-runs/{empirical.runs[0].id}"
    told = [record.message for record in caplog.records if record.name.startswith("empirical_p")]
    assert any(url in line for line in told[:2])
    assert url in told[-2]
    assert told[-1].startswith("Verdict: passed, so the gate says pass. Tests: ")
    assert "passed" in told[-1].split("Tests: ")[1]
