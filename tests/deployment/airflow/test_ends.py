"""How a deferred gate ends by its own clocks and by Airflow's, and whom it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployment.airflow.conftest import started
from tests.deployment.airflow.host import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

pytestmark = pytest.mark.extended

ENDS = {"limited": "stuck", "abandoned": "stuck", "told": "passed"}


@pytest.fixture(scope="module")
def service(deployment: Deployment) -> Iterator[Service]:
    """Return the service of these DAGs, all of which have been started."""
    with started(deployment, "ends", ENDS) as service:
        yield service


@pytest.mark.scenario("asset event with the verdict")
def test_a_green_gate_tells_its_asset(deployment: Deployment, service: Service) -> None:
    """The event of the gate's asset carries run, page, outcome and counts."""
    assert deployment.ended("told")["state"] == "success"
    verdict = deployment.xcom("told", "verdict")
    events = deployment.api("GET", "/api/v2/assets/events?limit=100")["asset_events"]
    [event] = [each for each in events if each["source_dag_id"] == "told"]
    assert event["extra"] == {
        "test_run_id": service.the_run_in("told").id,
        "test_run_url": verdict["url"],
        "outcome": "passed",
        "counts": verdict["counts"],
    }


@pytest.mark.scenario("execution_timeout across a deferral")
def test_execution_timeout_ends_a_deferred_gate(deployment: Deployment, service: Service) -> None:
    """A limit of 20 s ends the gate within 30 s of it, and the log names the run and its page."""
    gate = deployment.ended("limited")
    assert gate["state"] == "failed"
    assert 17 <= seconds(gate) <= 50
    log, run = deployment.log("limited"), service.the_run_in("limited")
    assert f"Empirical test run {run.id}" in log
    assert "was not waited for any longer" in log
    assert f"{service.url}/acme/test-runs/{run.id}" in log
    assert (run.state, service.sent("limited"), service.cancels("limited")) == ("started", 1, 0)


@pytest.mark.scenario("Airflow's own time-out of a deferral")
def test_airflows_own_time_out_of_a_deferral_names_the_run(
    deployment: Deployment, service: Service
) -> None:
    """A gate whose trigger does nothing is ended by Airflow, takes a last look, and says so."""
    gate = deployment.ended("abandoned")
    assert gate["state"] == "failed"
    log, run = deployment.log("abandoned"), service.the_run_in("abandoned")
    assert "the deferral failed: Trigger timeout" in log
    assert f"{service.url}/acme/test-runs/{run.id}" in log
    assert "and the time-out is 10 s" in log
    assert deployment.xcom("abandoned", "verdict")["outcome"] == "timed_out"
    assert (run.state, service.sent("abandoned")) == ("started", 1)
