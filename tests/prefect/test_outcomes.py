"""The table of outcomes: every way to gate a flow comes to the verdict that the core comes to.

Most of it calls the functions in the tasks, without Prefect's engine around them, so that the whole
table takes seconds. The engine changes no verdict, and a few rows go through it to show that.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    GateClosedError,
    NoTestsError,
    Outcome,
    RunCancelledError,
    RunErroredError,
    RunIncompleteError,
    RunSupersededError,
    TestRun,
    TestsFailedError,
    WaitTimedOutError,
    WrongCommitError,
    exceptions,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)
from tests.core.test_verdict import CASES

FAST = {"poll_interval": 0.01}
"""The local Empirical moves a run each time it is read."""

SOON = {"timeout": 0.05}

ENDS: dict[str, tuple[dict[str, Any], dict[str, Any], type[GateClosedError]]] = {
    # outcome: script of the run, options of the wait, what a gate that is closed raises
    "passed": ({"outcome": "passed", "total": 48}, {}, GateClosedError),
    "failed": ({"outcome": "failed", "total": 10, "failed": 3}, {}, TestsFailedError),
    "error": ({"outcome": "error"}, {}, RunErroredError),
    "cancelled": ({"outcome": "cancelled"}, {}, RunCancelledError),
    "superseded": ({"outcome": "superseded"}, {}, RunSupersededError),
    "no_tests": ({"outcome": "no_tests"}, {}, NoTestsError),
    "incomplete": ({"outcome": "incomplete", "total": 48, "missing": 38}, {}, RunIncompleteError),
    "timed_out": ({"outcome": "stuck"}, SOON, WaitTimedOutError),
}


def _settled(result: Any) -> Any:
    return asyncio.run(result) if inspect.isawaitable(result) else result


@dataclass(frozen=True)
class Gate:
    """One way to gate a flow, used like all the others."""

    how: str
    is_async: bool
    credentials: EmpiricalCredentials
    by_prefect: bool = False

    def __call__(self, **options: Any) -> tuple[dict[str, Any], GateClosedError | None]:
        """Gate by a run; return the verdict, and the error that has closed the gate, if any."""
        try:
            return getattr(self, f"_{self.how}")(**options)
        except GateClosedError as error:
            return error.verdict or {}, error

    def _wait(self, **options: Any) -> Any:
        task = await_for_test_run if self.is_async else wait_for_test_run
        call = {"credentials": self.credentials, "test_run_id": self._started(), **FAST, **options}
        return _settled((task if self.by_prefect else task.fn)(**call)), None

    def _run(self, **options: Any) -> Any:
        task = arun_tests if self.is_async else run_tests
        call = {"credentials": self.credentials, "environment": "staging", **FAST, **options}
        return _settled((task if self.by_prefect else task.fn)(**call)), None

    def _job(self, **options: Any) -> Any:
        job = self._of_job(**options)
        return self._awaited(_settled(job.atrigger() if self.is_async else job.trigger()))

    def _attached(self, **options: Any) -> Any:
        job, run_id = self._of_job(**options), self._started()
        run = _settled(job.aattach(run_id) if self.is_async else job.attach(run_id))
        return self._awaited(run)

    def _of_job(self, **options: Any) -> EmpiricalTestJob:
        fields = {"credentials": self.credentials, "environment": "staging", **FAST, **options}
        return EmpiricalTestJob(**fields)

    def _started(self) -> int:
        run = trigger_test_run.fn(credentials=self.credentials, environment="staging")
        return int(run["id"])

    def _awaited(self, run: Any) -> Any:
        error = None
        try:
            _settled(run.await_for_completion() if self.is_async else run.wait_for_completion())
        except GateClosedError as closed:
            error = closed
        return _settled(run.afetch_result() if self.is_async else run.fetch_result()), error


WAYS = [*itertools.product(("wait", "run", "job", "attached"), (False, True))]


@pytest.fixture(params=WAYS, ids=[f"{how}-{'async' if twin else 'sync'}" for how, twin in WAYS])
def gate(request: pytest.FixtureRequest, credentials: EmpiricalCredentials) -> Gate:
    """Return each way to gate a flow in turn."""
    how, is_async = request.param
    return Gate(how, is_async, credentials)


@pytest.fixture
def _without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one task call the function in the other, where it would have Prefect run it."""
    ours = "empirical_provider.prefect"
    for module, task in (
        ("tasks", trigger_test_run),
        ("tasks", atrigger_test_run),
        ("gate", wait_for_test_run),
        ("gate", await_for_test_run),
    ):
        monkeypatch.setattr(f"{ours}.{module}.{task.fn.__name__}", task.fn)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[TestRun], None]:
    """Return a way to have every look see a run: the local Empirical leaves no counts out."""

    def have(run: TestRun) -> None:
        def look(_self: EmpiricalClient, run_id: int, **_: Any) -> TestRun:
            return replace(run, id=run_id)

        async def alook(_self: AsyncEmpiricalClient, run_id: int, **_: Any) -> TestRun:
            return replace(run, id=run_id)

        monkeypatch.setattr(EmpiricalClient, "get_test_run", look)
        monkeypatch.setattr(AsyncEmpiricalClient, "get_test_run", alook)

    return have


@pytest.mark.usefixtures("_without_engine")
@pytest.mark.parametrize(
    ("run", "policy", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_cores_table(  # noqa: PLR0917  # each is a fixture, passed by name
    run: TestRun,
    policy: dict[str, Any],
    outcome: str,
    gate: Gate,
    answer: Callable[[TestRun], None],
    empirical: Emulator,
) -> None:
    """Each state, count and policy that the core tells apart has its outcome in each way here."""
    answer(run)

    verdict, error = gate(policy=policy)

    assert (verdict["run_id"], verdict["outcome"]) == (empirical.runs[0].id, outcome)
    assert verdict["decision"] == ("pass" if error is None else "fail")
    assert (error is None) == (outcome == "passed")


@pytest.mark.usefixtures("_without_engine")
@pytest.mark.parametrize("decision", ["pass", "fail", "skip"])
@pytest.mark.parametrize("outcome", ENDS)
def test_each_outcome_under_each_decision(
    outcome: str, decision: str, gate: Gate, empirical: Emulator
) -> None:
    """Over the wire, a run has its outcome, and only the decision `fail` raises: its own error."""
    script, options, closed = ENDS[outcome]
    empirical.script("staging", **script)

    verdict, error = gate(policy={outcome: decision}, **options)

    (made,) = empirical.runs
    assert (verdict["run_id"], verdict["outcome"]) == (made.id, outcome)
    assert verdict["decision"] == decision
    assert type(error) is (closed if decision == "fail" else type(None))
    if error is not None:
        assert str(error).startswith(f"Empirical test run {made.id} ")
        assert (error.run_id, error.run_url) == (made.id, verdict["url"])
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.verdict) == (type(error), str(error), verdict)


@pytest.mark.usefixtures("_without_engine")
@pytest.mark.parametrize(
    ("script", "policy", "outcome"),
    [
        ({"outcome": "snoozed"}, {}, "passed"),
        ({"outcome": "snoozed"}, {"count_snoozed_failures": True}, "failed"),
        ({"outcome": "flaky"}, {"max_flaky": 1}, "passed"),
        ({"outcome": "flaky"}, {"max_flaky": 0}, "failed"),
        ({"outcome": "passed", "total": 3}, {"min_tests": 3}, "passed"),
        ({"outcome": "passed", "total": 3}, {"min_tests": 4}, "no_tests"),
        ({"outcome": "no_tests"}, {"min_tests": 0}, "passed"),
        ({"outcome": "incomplete", "interrupted": 2}, {}, "incomplete"),
        ({"outcome": "incomplete", "total": 5, "missing": 5}, {}, "no_tests"),
        ({"outcome": "incomplete", "total": 5, "missing": 2}, {"min_tests": 4}, "no_tests"),
        ({"outcome": "failed", "failed": 1, "missing": 2}, {"failed": "pass"}, "incomplete"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_counts_and_policies_over_the_wire(
    script: dict[str, Any], policy: dict[str, Any], outcome: str, gate: Gate, empirical: Emulator
) -> None:
    """The counts that the service sends lead to the same outcome in each way."""
    empirical.script("staging", **script)

    verdict, error = gate(policy=policy)

    assert verdict["outcome"] == outcome
    assert (error is None) == (outcome == "passed")


@pytest.mark.usefixtures("_without_engine")
@pytest.mark.parametrize("how", ["wait", "run"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_run_that_does_not_start(
    how: str, is_async: bool, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The second clock ends the wait, in words of its own; a job block has no such clock."""
    empirical.script("staging", "pending")

    verdict, error = Gate(how, is_async, credentials)(start_timeout=0.05)

    assert type(error) is WaitTimedOutError
    assert verdict["outcome"] == "timed_out"
    assert "it should have started in 0.05 s." in verdict["summary"]


@pytest.mark.usefixtures("_without_engine")
@pytest.mark.parametrize(
    ("run", "policy", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_verdict_without_a_wait(  # noqa: PLR0917  # each is a fixture, passed by name
    run: TestRun,
    policy: dict[str, Any],
    outcome: str,
    is_async: bool,
    credentials: EmpiricalCredentials,
    answer: Callable[[TestRun], None],
) -> None:
    """A job that is attached to a finished run gives the same verdict at once, and never raises."""
    answer(run)
    job = EmpiricalTestJob(credentials=credentials, environment="staging", policy=policy)
    handle = _settled(job.aattach(456) if is_async else job.attach(456))

    verdict = _settled(handle.afetch_result() if is_async else handle.fetch_result())

    assert (verdict["run_id"], verdict["outcome"]) == (456, outcome)
    assert verdict["decision"] == ("pass" if outcome == "passed" else "fail")


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["passed", "failed", "superseded"])
def test_the_engine_changes_no_verdict(outcome: str, gate: Gate, empirical: Emulator) -> None:
    """Run by Prefect it is the same: green returns, red raises its own error, a skip returns."""
    script, _, closed = ENDS[outcome]
    empirical.script("staging", **script)

    verdict, error = replace(gate, by_prefect=True)(policy={"superseded": "skip"})

    assert (verdict["run_id"], verdict["outcome"]) == (empirical.runs[0].id, outcome)
    assert verdict["decision"] == {"passed": "pass", "superseded": "skip"}.get(outcome, "fail")
    assert type(error) is (closed if outcome == "failed" else type(None))


def test_the_table_is_complete() -> None:
    """Every outcome has a row, and every error of a closed gate; `test_expected_commit` has those
    of another commit, which a job is told in a way of its own."""
    closed = {each for each in vars(exceptions).values() if isinstance(each, type)}

    assert {*ENDS, "wrong_commit"} == {str(each) for each in Outcome}
    assert {WrongCommitError, *(row[2] for row in ENDS.values())} == {
        each for each in closed if issubclass(each, GateClosedError)
    }
