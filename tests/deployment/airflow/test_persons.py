"""A person ends, marks or clears a gate through the REST API, as Airflow's browser does.

All DAG runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.deployment.airflow.conftest import started
from tests.deployment.airflow.host import AIRFLOW
from tests.deployment.conftest import started_by
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

ENDS = {
    "cleared-after-success": "passed",
    "marked-failed-running": "stuck",
    "cleared-running": "stuck",
    "marked-failed-deferred": "stuck",
    "marked-success-deferred": "stuck",
    "dag-failed-deferred": "stuck",
    "cleared-deferred": "stuck",
}
AT_ONCE = 60.0
"""Seconds within which a run is cancelled once a user has ended its task: nothing else would cancel
it before the timeout of two hours."""

tells_triggers = pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="before 3.3 Airflow tells no trigger that a person has ended its task"
)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[Service]:
    """Return the service of these DAGs, which have been started."""
    ends = {name: ENDS[name] for name in started_by(request)}
    with started(deployment, "persons", ends) as service:
        yield service


def trigger_waits(deployment: Deployment, service: Service, dag_id: str) -> None:
    """Wait until a trigger waits for a gate's run: one that is not running yet cannot be told."""
    until("a triggerer has it", lambda: deployment.tasks(dag_id)[0]["triggerer_job"])
    seen = service.watched(dag_id)
    until("it looks at the run", lambda: service.watched(dag_id) > seen + 1)


MARKS: dict[str, tuple[Callable[[Deployment, str], None], str, str]] = {
    # what a person does, the state of the task, the state of the DAG run
    "marked-failed": (lambda airflow, dag: airflow.set_state(dag, "failed"), "failed", "failed"),
    "marked-success": (
        lambda airflow, dag: airflow.set_state(dag, "success"),
        "success",
        "success",
    ),
    "dag-failed": (lambda airflow, dag: airflow.set_dag_state(dag, "failed"), "failed", "failed"),
}
DEFERRED = {
    "marked-failed": "mark failed while deferred",
    "marked-success": "mark success while deferred",
    "dag-failed": "DAG run failed while deferred",
}


@tells_triggers
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what,
            marks=[
                pytest.mark.scenario(DEFERRED[what]),
                pytest.mark.starts(f"{what}-deferred"),
                *([] if what == "marked-failed" else [pytest.mark.extended]),
            ],
        )
        for what in MARKS
    ],
)
def test_who_ends_a_deferred_gate_cancels_its_run(
    what: str, deployment: Deployment, service: Service
) -> None:
    """The remote run is cancelled at once, by one request; the states are what the person wants."""
    mark, state, dag_state = MARKS[what]
    dag_id = f"{what}-deferred"
    trigger_waits(deployment, service, dag_id)
    assert deployment.states(dag_id) == ["deferred"]
    mark(deployment, dag_id)
    began = time.monotonic()
    cancelled = {"cancelling", "cancelled"}
    until("the run is cancelled", lambda: service.the_run_in(dag_id).state in cancelled)
    assert time.monotonic() - began < AT_ONCE
    until("the DAG run has ended", lambda: deployment.dag_state(dag_id) == dag_state)
    assert deployment.states(dag_id) == [state]
    until("it is cancelled", lambda: service.the_run_in(dag_id).state == "cancelled")
    assert (service.sent(dag_id), service.cancels(dag_id)) == (1, 1)


@pytest.mark.extended
@pytest.mark.scenario("clear while deferred")
@pytest.mark.starts("cleared-deferred")
def test_a_clear_of_a_deferred_gate_starts_a_fresh_run(
    deployment: Deployment, service: Service
) -> None:
    """The old run is cancelled, where Airflow tells the trigger; the gate opens on the new one."""
    dag_id = "cleared-deferred"
    trigger_waits(deployment, service, dag_id)
    deployment.clear(dag_id)
    until("there is a second run", lambda: len(service.runs_in(dag_id)) > 1)
    first, second = service.runs_in(dag_id)
    if AIRFLOW >= (3, 3):
        until("the old run is cancelled", lambda: service.runs_in(dag_id)[0].state == "cancelled")
    deployment.waits_deferred(dag_id)
    service.set_state(second.id, "ended")
    assert deployment.ended(dag_id)["state"] == "success"
    assert deployment.xcom(dag_id, "verdict")["run_id"] == second.id
    assert (service.sent(dag_id), first.id < second.id) == (2, True)
    assert service.cancels(dag_id) == (1 if AIRFLOW >= (3, 3) else 0)


@pytest.mark.extended
@pytest.mark.scenario("mark failed while running")
@pytest.mark.starts("marked-failed-running")
def test_who_ends_a_gate_that_waits_in_a_worker_cancels_its_run(
    deployment: Deployment, service: Service
) -> None:
    """Marking the running task failed cancels the remote run, once."""
    dag_id = "marked-failed-running"
    until("the worker waits", lambda: service.looks(dag_id) > 0)
    assert deployment.states(dag_id) == ["running"], deployment.log(dag_id)
    deployment.set_state(dag_id, "failed")
    until("the run is cancelled", lambda: service.the_run_in(dag_id).state == "cancelled")
    assert deployment.states(dag_id) == ["failed"]
    assert (service.sent(dag_id), service.cancels(dag_id)) == (1, 1)


@pytest.mark.extended
@pytest.mark.scenario("clear while running")
@pytest.mark.starts("cleared-running")
def test_a_clear_of_a_gate_that_waits_in_a_worker_starts_a_fresh_run(
    deployment: Deployment, service: Service
) -> None:
    """The old run is cancelled and the gate opens on the new one, whether or not this Airflow
    counts the clear as one: not all of them do while a task is running."""
    dag_id = "cleared-running"
    until("the worker waits", lambda: service.looks(dag_id) > 0)
    deployment.clear(dag_id)
    until("there is a second run", lambda: len(service.runs_in(dag_id)) > 1)
    first, second = service.runs_in(dag_id)
    assert first.state in {"cancelling", "cancelled"}
    service.set_state(second.id, "ended")
    assert deployment.ended(dag_id)["state"] == "success"
    assert deployment.xcom(dag_id, "verdict")["run_id"] == second.id
    assert service.sent(dag_id) == 2


@pytest.mark.scenario("clear after success")
@pytest.mark.starts("cleared-after-success")
def test_a_clear_after_success_starts_a_fresh_run(deployment: Deployment, service: Service) -> None:
    """The verdict is the new run's: it is red where the old one was green."""
    dag_id = "cleared-after-success"
    assert deployment.ended(dag_id)["state"] == "success"
    service.script(dag_id, "failed")
    deployment.clear(dag_id)
    until("there is a second run", lambda: len(service.runs_in(dag_id)) > 1)
    gate = deployment.ended(dag_id)
    assert (gate["state"], gate["try_number"]) == ("failed", 2)
    first, second = service.runs_in(dag_id)
    verdict = deployment.xcom(dag_id, "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (second.id, "failed")
    assert (first.state, second.state, service.sent(dag_id)) == ("ended", "ended", 2)
