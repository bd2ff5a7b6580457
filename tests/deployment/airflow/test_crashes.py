"""A gate's process is killed at a point of the request to start a run: there is exactly one run.

With Airflow 3.3 and later the task state store tells a retry of the try before; with older ones the
retry looks its run up. All DAG runs are started at once; each test waits for its own.
"""

from __future__ import annotations

import os
import signal
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.deployment.airflow.conftest import KEY, serving
from tests.deployment.airflow.host import AIRFLOW
from tests.deployment.conftest import started_by
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.emulator import RunSnapshot
    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

MODES = ("trigger-only", "sync", "deferrable")
CRASHES = [f"{point}-{mode}" for point, mode in product(("unsent", "unsaved"), MODES)]
MUTE = [f"unanswered-{mode}" for mode in MODES]
BASIC = "unanswered-deferrable"


def cases(dag_ids: list[str]) -> list[Any]:
    """Return the DAGs as parameters of a test, which has them started."""
    extended = {True: [], False: [pytest.mark.extended]}
    return [
        pytest.param(each, marks=[pytest.mark.starts(each), *extended[each == BASIC]])
        for each in dag_ids
    ]


@pytest.fixture(scope="module")
def calm() -> Iterator[Service]:
    """Return a local Empirical that answers."""
    with serving(dict.fromkeys(CRASHES, "passed")) as service:
        yield service


@pytest.fixture(scope="module")
def mute() -> Iterator[Service]:
    """Return a local Empirical that starts a run for each mode without telling in time."""
    with serving(dict.fromkeys(MUTE, "passed")) as service:
        service.fault("trigger", "delay", when="after", delay=50, times=len(MUTE))
        yield service


@pytest.fixture(scope="module", autouse=True)
def _started(
    request: pytest.FixtureRequest, deployment: Deployment, calm: Service, mute: Service
) -> None:
    """Start every scenario."""
    deployment.connect("crashes", password=KEY, host=calm.url)
    deployment.connect("crashes-mute", password=KEY, host=mute.url)
    deployment.trigger(*started_by(request))


def is_complete(deployment: Deployment, dag_id: str, run: RunSnapshot) -> None:
    """Check that a gate that has crashed once tells all of the one run."""
    gate = deployment.ended(dag_id)
    assert (gate["state"], gate["try_number"]) == ("success", 2), deployment.log(dag_id)
    for key in ("return_value", "test_run_id"):
        assert deployment.xcom(dag_id, key) == run.id
    assert f"/acme/test-runs/{run.id}" in deployment.xcom(dag_id, "test_run_url")
    if "trigger-only" not in dag_id:
        verdict = deployment.xcom(dag_id, "verdict")
        assert (verdict["run_id"], verdict["outcome"]) == (run.id, "passed")


@pytest.mark.scenario("worker SIGKILL: {dag_id}")
@pytest.mark.parametrize("dag_id", cases(MUTE))
def test_a_worker_killed_before_the_answer_leaves_one_run(
    dag_id: str, deployment: Deployment, mute: Service
) -> None:
    """The service has acted, and the process is killed while it waits for the answer."""
    until(f"{dag_id} has started a run", lambda: mute.runs_in(dag_id))
    [gate] = deployment.tasks(dag_id)
    assert gate["state"] == "running"
    os.kill(gate["pid"], signal.SIGKILL)
    is_complete(deployment, dag_id, mute.the_run_in(dag_id))
    assert len(mute.runs_in(dag_id)) == 1


@pytest.mark.scenario("worker SIGKILL: {dag_id}")
@pytest.mark.parametrize("dag_id", cases(CRASHES))
def test_a_worker_killed_before_the_request_or_the_saving_leaves_one_run(
    dag_id: str, deployment: Deployment, calm: Service
) -> None:
    """The process is killed before the request is sent, or after the answer with the id unsaved."""
    assert deployment.ended(dag_id)
    is_complete(deployment, dag_id, calm.the_run_in(dag_id))
    assert calm.sent(dag_id) == 1


@pytest.mark.scenario("task state store")
@pytest.mark.skipif(AIRFLOW < (3, 3), reason="there is no task state store before")
@pytest.mark.parametrize("dag_id", cases([*MUTE, *CRASHES]))
def test_the_store_keeps_what_the_next_try_needs(
    dag_id: str, deployment: Deployment, calm: Service, mute: Service
) -> None:
    """Airflow's store holds the id of the run: it takes what the core saves, as it is."""
    deployment.ended(dag_id)
    gate = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/gate"
    kept = deployment.api("GET", f"{gate}/state-store/empirical_test_run")["value"]
    run = (mute if dag_id in MUTE else calm).the_run_in(dag_id)
    assert (kept["generation"], kept["record"]["run_id"]) == (2, run.id)
