"""The commit that a task expects: in each way to wait, behind a branch, and in the example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, InvalidRequestError, TestRunRequest
from empirical_provider.airflow import exceptions as host
from empirical_provider.airflow.operators import EmpiricalBranchOperator
from tests.airflow.standins import (
    AirflowFailException,
    TaskInstance,
    context_of,
    gate,
    run,
    sensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator
    from tests.airflow.conftest import DagRun

pytestmark = pytest.mark.usefixtures("connection", "at_once")

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
RELEASED = "3f786850e387550fdab836ed7e6dc881de23001b"
OTHER = "89e6c98d92887913cadf06b2adb97f26cde4849b"


@pytest.fixture
def started(empirical: Emulator, api_key: str) -> Callable[..., int]:
    """Return a function that starts a run of a commit, as somebody else does."""

    def start(commit: str) -> int:
        request = TestRunRequest(environment="staging", build={"commit": commit})
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            return client.trigger(request).id

    return start


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "wrong_commit"),
        ({"expect_commit": OTHER[:9]}, "passed"),
        ({"expect_commit": False}, "passed"),
        ({"policy": {"wrong_commit": "pass"}}, "passed"),
        ({"build": {"version": "1.4.0"}}, "passed"),
    ],
)
def test_the_gate_expects_the_commit_of_its_build(
    fields: dict[str, Any], outcome: str, deferrable: bool, empirical: Emulator
) -> None:
    """By itself the operator fails for good where another commit than that of its build was tested;
    who names another one, or none, gets what was asked for."""
    empirical.script("staging", "passed", commit=OTHER)
    ti = TaskInstance()
    task = gate(**{"build": {"commit": RELEASED}, "deferrable": deferrable, **fields})
    if outcome == "passed":
        run(task, ti)
    else:
        with pytest.raises(host.EmpiricalWrongCommitError, match=f"{OTHER}, and not {RELEASED}"):
            run(task, ti)
    assert ti.xcoms["verdict"]["outcome"] == outcome
    assert issubclass(host.EmpiricalWrongCommitError, AirflowFailException)


@pytest.mark.parametrize(
    "how", [{"deferrable": True}, {"mode": "poke", "deferrable": False}], ids=["deferred", "poke"]
)
def test_a_sensor_expects_what_it_is_told(
    how: dict[str, Any], empirical: Emulator, started: Callable[..., int]
) -> None:
    """The sensor opens for the commit that was released, and not for a run of another one."""
    empirical.script("staging", "passed")
    ti = TaskInstance()
    run(sensor(test_run_id=started(RELEASED), expect_commit=RELEASED[:10], **how), ti)
    with pytest.raises(host.EmpiricalWrongCommitError):
        run(sensor(test_run_id=started(OTHER), expect_commit=RELEASED, **how), TaskInstance())


def test_a_branch_expects_what_it_is_told(empirical: Emulator, started: Callable[..., int]) -> None:
    """Behind a run of another commit the branch goes the way of red, also where only lists tell."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = started(OTHER)
    empirical.set_state(run_id, "ended")
    for commit, way in ((OTHER, ["promote"]), (RELEASED, ["roll_back"])):
        task = EmpiricalBranchOperator(
            task_id="decide",
            test_run_id=run_id,
            expect_commit=commit,
            follow_if_passed="promote",
            follow_if_failed="roll_back",
        )
        assert task.choose_branch(context_of(TaskInstance())) == way


@pytest.mark.parametrize("given", ["", " ", ["c0ffee0"]])
def test_a_bad_expectation_starts_nothing(given: Any, empirical: Emulator) -> None:
    """What is no commit fails the task for good, names the argument, and no run was started."""
    task = gate(expect_commit="{{ params.commit }}")
    task.expect_commit = given
    with pytest.raises(AirflowFailException, match="expect_commit must be a non-empty"):
        run(task, TaskInstance())
    assert empirical.requests == []
    assert issubclass(InvalidRequestError, ValueError)


@pytest.mark.slow
@pytest.mark.swift
@pytest.mark.parametrize(("tested", "state"), [(RELEASED, "success"), (OTHER, "upstream_failed")])
def test_the_example_releases_only_what_was_tested(
    tested: str,
    state: str,
    run_dag: Callable[..., DagRun],
    empirical: Emulator,
    started: Callable[..., int],
) -> None:
    """The example releases the commit that the run has tested, and stops before another one."""
    empirical.script("staging", "passed")
    conf = {"test_run_id": started(tested), "commit": RELEASED}
    dag_run = run_dag("tested_commit", EXAMPLES, conf=conf, may_fail=True)
    assert dag_run.task("release")[0] == state
    assert ("has tested another commit" in dag_run.output) is (tested == OTHER)


@pytest.mark.parametrize("fault", [{"effect": "status", "status": 403}, {"effect": "malformed"}])
def test_a_branch_goes_no_way_while_the_commit_cannot_be_read(
    fault: dict[str, Any], empirical: Emulator, started: Callable[..., int]
) -> None:
    """The list that should tell the commit fails: the branch fails, and chooses neither way."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = started(OTHER)
    empirical.set_state(run_id, "ended")
    empirical.fault("list_test_runs", times=None, **fault)
    task = EmpiricalBranchOperator(
        task_id="decide", test_run_id=run_id, expect_commit=RELEASED, follow_if_passed="promote"
    )
    with pytest.raises(AirflowFailException, match="Could not list the test runs"):
        task.choose_branch(context_of(TaskInstance()))


def test_a_branch_asks_again_for_a_commit(empirical: Emulator, started: Callable[..., int]) -> None:
    """A failure that passes is repeated as for every request of the branch."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = started(OTHER)
    empirical.set_state(run_id, "ended")
    empirical.fault("list_test_runs", "status", status=500)
    task = EmpiricalBranchOperator(
        task_id="decide", test_run_id=run_id, expect_commit=RELEASED, follow_if_failed="roll_back"
    )
    assert task.choose_branch(context_of(TaskInstance())) == ["roll_back"]


@pytest.mark.parametrize("field", ["expect_commit", "build"])
def test_a_short_hash_starts_nothing(field: str, empirical: Emulator) -> None:
    """Fewer than seven characters of a hash fail the task for good before a run is started."""
    task = gate(**{field: "{{ params.it }}"})
    setattr(task, field, "abc123" if field == "expect_commit" else {"commit": "abc123"})
    with pytest.raises(AirflowFailException, match="at least 7 characters"):
        run(task, TaskInstance())
    assert empirical.requests == []
