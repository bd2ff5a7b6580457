"""The branch: which way each verdict goes; more whole DAG runs of it are in `test_examples`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.airflow.operators import EmpiricalBranchOperator
from empirical_provider.airflow.versions import find
from tests.airflow.standins import AirflowFailException, AirflowSkipException, TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

AirflowException = find(
    "airflow.sdk.exceptions:AirflowException", "airflow.exceptions:AirflowException"
)

pytestmark = pytest.mark.usefixtures("connection")


class Branching(TaskInstance):
    """Stands in for Airflow's; knows what the tasks before have pushed."""

    def __init__(
        self,
        before: Mapping[str, int | None] | None = None,
        verdict: Any = None,
        *,
        verdicts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        told = verdicts or dict.fromkeys(before or {}, verdict)
        self._known = {"test_run_id": before or {}, "verdict": told}

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int = -1) -> Any:
        assert map_indexes == -1
        return self._known[key][task_ids]


@pytest.fixture
def start(empirical: Emulator, api_key: str) -> Callable[..., int]:
    """Return a function that starts a run in staging, finishes it if asked, and returns its id."""

    def begin(outcome: str, state: str | None = "ended") -> int:
        empirical.script("staging", outcome)
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run_id = client.trigger(TestRunRequest(environment="staging")).id
        if state is not None:
            empirical.set_state(run_id, state)
        return run_id

    return begin


def choose(ti: TaskInstance, before: tuple[str, ...] = (), **fields: Any) -> list[str]:
    given = {"follow_if_passed": "promote", "follow_if_failed": ["roll_back", "tell"]}
    task = EmpiricalBranchOperator(task_id="e2e", **{**given, **fields})
    task.upstream_task_ids |= set(before)
    return task.choose_branch({"ti": ti})


@pytest.mark.parametrize(
    ("outcome", "state", "policy", "chosen"),
    [
        ("passed", "ended", None, ["promote"]),
        ("failed", "ended", None, ["roll_back", "tell"]),
        ("failed", "ended", {"failed": "pass"}, ["promote"]),
        ("no_tests", "ended", None, ["roll_back", "tell"]),
        ("passed", "cancelled", None, ["roll_back", "tell"]),
        ("passed", "error", {"error": "pass"}, ["promote"]),
    ],
)
def test_the_verdict_says_which_way(
    outcome: str, state: str, policy: Any, chosen: list[str], start: Callable[..., int]
) -> None:
    """The run is judged anew under the branch's own policy, and the verdict is handed on."""
    run_id = start(outcome, state)
    ti = Branching()
    assert choose(ti, test_run_id=str(run_id), policy=policy) == chosen
    assert ti.xcoms["verdict"]["run_id"] == run_id
    assert ti.xcoms["test_run_url"].endswith(f"/test-runs/{run_id}")


def test_a_way_that_is_not_given_leads_nowhere(start: Callable[..., int]) -> None:
    """Without a task for a verdict, all that follows is skipped."""
    assert choose(Branching(), test_run_id=start("passed"), follow_if_passed=None) == []


def test_the_policy_may_skip_the_branch(start: Callable[..., int]) -> None:
    """An outcome that the policy skips takes neither way."""
    with pytest.raises(AirflowSkipException, match="failed"):
        choose(Branching(), test_run_id=start("failed"), policy={"failed": "skip"})


def test_a_run_that_has_not_finished_is_an_error(start: Callable[..., int]) -> None:
    """There is nothing to go by yet; the error names the run and its page, and may be retried."""
    run_id = start("stuck", None)
    with pytest.raises(AirflowException, match=f"test run {run_id} .*is queued") as error:
        choose(Branching(), test_run_id=run_id)
    assert not isinstance(error.value, AirflowFailException)
    assert f"/acme/test-runs/{run_id}" in str(error.value)


def test_the_run_is_that_of_the_task_before(start: Callable[..., int]) -> None:
    """Without an id the branch goes by the one run that a task directly before it has started."""
    ti = Branching({"gate": start("passed"), "notes": None})
    assert choose(ti, ("gate", "notes")) == ["promote"]


@pytest.mark.parametrize(
    ("before", "told"),
    [({}, "0 of the tasks .*none"), ({"a": None}, "0 of .*a"), ({"a": 1, "b": 2}, "2 of .*a, b")],
)
def test_without_exactly_one_run_before_there_is_no_guess(
    before: dict[str, int | None], told: str
) -> None:
    """No run, or more than one, is an error that says what was found."""
    with pytest.raises(AirflowFailException, match=told):
        choose(Branching(before), tuple(before))


@pytest.mark.parametrize("given", ["", "None", -1])
def test_an_id_that_is_none_is_refused(given: Any) -> None:
    """A template that came out empty is refused by name."""
    with pytest.raises(AirflowFailException, match="test_run_id must be the id of a test run"):
        choose(Branching(), test_run_id=given)


TESTED = "5e1f3a7b" + "0" * 32


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({}, ["roll_back", "tell"]),
        ({"expect_commit": True}, ["roll_back", "tell"]),
        ({"expect_commit": False}, ["promote"]),
        ({"expect_commit": TESTED[:8]}, ["promote"]),
        ({"policy": {"wrong_commit": "pass"}}, ["promote"]),
    ],
)
def test_a_gate_that_a_commit_has_closed_is_not_opened_by_the_branch(
    fields: dict[str, Any], chosen: list[str], empirical: Emulator, api_key: str
) -> None:
    """What a gate before has expected of the run, the branch expects, unless it says otherwise."""
    empirical.script("staging", "passed", commit=TESTED)
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    empirical.set_state(run_id, "ended")
    ti = Branching({"gate": run_id}, {"run_id": run_id, "expected_commit": "0" * 40})
    assert choose(ti, ("gate",), **fields) == chosen


def test_a_gate_of_another_run_says_nothing_about_the_commit(start: Callable[..., int]) -> None:
    """A verdict on another run, or none, leaves the branch without a commit to expect."""
    run_id = start("passed")
    for verdict in (None, {"run_id": run_id + 1, "expected_commit": "0" * 40}):
        ti = Branching({"gate": run_id}, verdict)
        assert choose(ti, ("gate",)) == ["promote"]


@pytest.mark.parametrize("commits", [(None, "0" * 40), ("0" * 7, "0" * 40), ("0" * 40, None)])
def test_an_expectation_before_counts_whichever_task_has_it(
    commits: tuple[str | None, ...], empirical: Emulator, api_key: str
) -> None:
    """Of several tasks that have judged the run, one that expects no commit takes none away."""
    empirical.script("staging", "passed", commit="0" * 39 + "1")
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    empirical.set_state(run_id, "ended")
    verdicts = {
        name: {"run_id": run_id, "expected_commit": commit}
        for name, commit in zip("ab", commits, strict=True)
    }
    ti = Branching({"a": run_id, "b": None}, verdicts=verdicts)
    assert choose(ti, ("a", "b")) == ["roll_back", "tell"]


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ("ok", "verdict of task a is not understood"),
        ([{"run_id": 1, "expected_commit": None}], "verdict of task a is not understood"),
        ({"outcome": "passed"}, "verdict of task a is not understood"),
        ({"run_id": 1, "expected_commit": True}, "verdict of task a is not understood"),
        ({"run_id": 1, "expected_commit": TESTED}, f"two commits of test run 1, {TESTED} and 000"),
        ({"run_id": 1, "expected_commit": "0"}, "two commits of test run 1, 0 and 000"),
        ({"run_id": 1, "expected_commit": "0" * 6}, "two commits of test run 1, 000000 and 000"),
        ({"run_id": 1, "expected_commit": "v1"}, "two commits of test run 1, v1 and 000"),
    ],
)
def test_what_a_task_before_expects_is_never_guessed(
    left: Any, told: str, empirical: Emulator
) -> None:
    """A verdict that cannot be read, or two that contradict each other, end the branch for good,
    and the error says what to do; nothing is asked."""
    verdicts = {"a": left, "b": {"run_id": 1, "expected_commit": "0" * 40}}
    with pytest.raises(AirflowFailException, match=told) as error:
        choose(Branching({"a": 1, "b": None}, verdicts=verdicts), ("a", "b"))
    assert "an expect_commit: a commit, or False" in str(error.value)
    assert empirical.requests == []


@pytest.mark.slow
@pytest.mark.swift
def test_a_branch_goes_by_what_ran_this_time(
    run_dag: Callable[..., DagRun], empirical: Emulator, start: Callable[..., int]
) -> None:
    """What a gate has left before a clear is no verdict on a release that failed since; a gate
    that its policy has skipped counts; in a mapped task group each goes by its own gate."""
    earlier = start("passed")
    released, other = "3f786850e387550fdab836ed7e6dc881de23001b", "0" * 40
    empirical.script("production", "passed", commit=released)
    empirical.script("staging", "passed", commit=other)
    run = run_dag("branched", conf={"earlier": earlier}, may_fail=True)
    assert run.xcoms("gate")["test_run_id"] == earlier
    states = {name: run.task(name)[0] for name in ("gate", "stale", "promote", "roll_back")}
    assert states == {
        "gate": "upstream_failed",
        "stale": "failed",
        "promote": "upstream_failed",
        "roll_back": "upstream_failed",
    }
    assert "verdict" not in run.xcoms("stale")
    assert run.task("skipped")[0] == run.task("skips")[0] == "skipped"
    assert run.xcoms("skips")["verdict"]["outcome"] == "wrong_commit"
    for index, gate, way, other, outcome in (
        (0, "success", "promote", "roll_back", "passed"),
        (1, "failed", "roll_back", "promote", "wrong_commit"),
    ):
        assert run.task("place.gate", index)[0] == gate
        for name in ("decide", "named"):
            xcoms = run.xcoms(f"place.{name}", index)
            assert xcoms["verdict"]["outcome"] == outcome
            assert f"place.{way}" in str(xcoms)
        assert run.task(f"place.{way}", index)[0] == "success"
        assert run.task(f"place.{other}", index)[0] == "skipped"
