"""What every Airflow 3 must be able to do: start a run, gate on it in every mode, lose a process.

All DAG runs are started at once; each test waits for its own. The triggerer is killed last.
"""

from __future__ import annotations

import signal
from itertools import product
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.deployment.airflow.conftest import started
from tests.deployment.airflow.host import AIRFLOW
from tests.deployment.conftest import started_by
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

MODES = {
    "sync": "sync",
    "deferrable": "deferrable",
    "poke": "sensor, poke",
    "reschedule": "sensor, reschedule",
    "sensor": "sensor, deferrable",
}
COLOURS = {"green": ("passed", "success"), "red": ("failed", "failed")}
BASIC_MODES = {"sync", "deferrable", "reschedule"}
CASES = [
    pytest.param(
        mode,
        colour,
        marks=[
            pytest.mark.scenario(f"gate, {name}: {colour}"),
            pytest.mark.starts(f"{mode}-{colour}"),
            *([] if mode in BASIC_MODES else [pytest.mark.extended]),
        ],
    )
    for (mode, name), colour in product(MODES.items(), COLOURS)
]
ENDS = {
    "worker-killed": "stuck",
    "triggerer-killed": "stuck",
    **{f"{mode}-{colour}": COLOURS[colour][0] for colour, mode in product(COLOURS, MODES)},
    "trigger-only": "stuck",
}


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[Service]:
    """Return the service of these DAGs, which have been started."""
    ends = {name: ENDS[name] for name in started_by(request)}
    with started(deployment, "basics", ends) as service:
        yield service


@pytest.mark.scenario("connection form")
def test_the_form_has_our_fields_only(deployment: Deployment) -> None:
    """What Airflow's browser makes the form of has our labels and our extras, and no others."""
    metas = deployment.api("GET", "/ui/connections/hook_meta")
    [ours] = [each for each in metas if each["connection_type"] == "empirical"]
    shown = {
        name: (field or {}).get("title")
        for name, field in ours["standard_fields"].items()
        if not (field or {}).get("hidden")
    }
    assert shown == {"description": None, "host": "Base URL", "password": "API key"}
    assert {name: field["schema"]["title"] for name, field in ours["extra_fields"].items()} == {
        "project_id": "Project id",
        "project_slug": "Project slug",
        "dashboard_url": "Dashboard URL",
        "environment": "Default environment",
        "timeout": "Request timeout (s)",
        "ca_bundle": "CA bundle",
    }


@pytest.mark.scenario("gate: a worker killed, adopted by a retry")
@pytest.mark.starts("worker-killed")
def test_a_killed_worker_leaves_its_run_to_the_retry(
    deployment: Deployment, service: Service
) -> None:
    """A task that is killed while it waits is tried again, and goes on with the run there is."""
    until("the worker waits", lambda: service.looks("worker-killed") > 1)
    [gate] = deployment.tasks("worker-killed")
    assert gate["state"] == "running"
    looks = service.looks("worker-killed")
    killed = psutil.Process(gate["pid"])
    if AIRFLOW < (
        3,
        1,
    ):  # it fails a task for good whose process alone is killed; not a lost worker
        killed.parent().kill()
    killed.kill()
    until("the retry runs", lambda: deployment.tasks("worker-killed")[0]["try_number"] == 2)
    until("it waits again", lambda: service.looks("worker-killed") > looks + 1)
    run = service.the_run_in("worker-killed")
    assert run.state == "started"
    service.set_state(run.id, "ended")
    gate = deployment.ended("worker-killed")
    assert (gate["state"], gate["try_number"]) == ("success", 2)
    assert service.sent("worker-killed") == 1
    assert deployment.xcom("worker-killed", "verdict")["run_id"] == run.id
    for key in ("return_value", "test_run_id"):
        assert deployment.xcom("worker-killed", key) == run.id


@pytest.mark.parametrize(("mode", "colour"), CASES)
def test_a_gate_goes_by_the_verdict(
    mode: str, colour: str, deployment: Deployment, service: Service
) -> None:
    """Green opens, red fails in the first try of three; the verdict and the log say which run."""
    dag_id, (outcome, state) = f"{mode}-{colour}", COLOURS[colour]
    gate = deployment.ended(dag_id)
    assert (gate["state"], gate["try_number"]) == (state, 1), deployment.log(dag_id)
    run = service.the_run_in(dag_id)
    assert (run.state, service.sent(dag_id)) == ("ended", 1)
    verdict = deployment.xcom(dag_id, "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (run.id, outcome)
    page = f"{service.url}/acme/test-runs/{run.id}"
    assert verdict["url"] == page
    log = deployment.log(dag_id)
    assert page in log
    if colour == "red":
        assert f"Empirical test run {run.id} in {dag_id} failed" in log
        assert verdict["failed_tests"][0] in log
    else:
        assert "Verdict: passed, so the gate says pass. Tests: " in log


@pytest.mark.scenario("trigger")
@pytest.mark.starts("trigger-only")
def test_a_trigger_does_not_wait(deployment: Deployment, service: Service) -> None:
    """The task succeeds with the run's id and page in XCom, although the run goes on."""
    assert deployment.ended("trigger-only")["state"] == "success"
    run = service.the_run_in("trigger-only")
    until("the run goes on", lambda: service.the_run_in("trigger-only").state == "started")
    for key in ("return_value", "test_run_id"):
        assert deployment.xcom("trigger-only", key) == run.id
    page = f"{service.url}/acme/test-runs/{run.id}"
    assert deployment.xcom("trigger-only", "test_run_url") == page
    assert (service.sent("trigger-only"), service.cancels("trigger-only")) == (1, 0)


@pytest.mark.scenario("gate, deferrable: triggerer SIGKILL")
@pytest.mark.starts("triggerer-killed")
def test_a_killed_triggerer_is_survived(deployment: Deployment, service: Service) -> None:
    """A triggerer that is started again after a kill goes on waiting; the run is left alone."""
    until("the trigger waits", lambda: service.watched("triggerer-killed") > 2)
    deployment.kill("triggerer", signal.SIGKILL)
    looks = service.watched("triggerer-killed")
    deployment.again("triggerer")
    run = service.the_run_in("triggerer-killed")

    def waits() -> bool:
        now = service.the_run_in("triggerer-killed").state
        assert (now, service.cancels("triggerer-killed")) == ("started", 0)
        return service.watched("triggerer-killed") > looks + 1

    until("it waits again", waits)
    service.set_state(run.id, "ended")
    gate = deployment.ended("triggerer-killed")
    assert (gate["state"], gate["try_number"]) == ("success", 1)
    assert deployment.xcom("triggerer-killed", "verdict")["run_id"] == run.id
    assert service.sent("triggerer-killed") == 1
