"""The example that starts a flow when a test run ends, served beside a whole Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.exceptions import ObjectNotFound

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.emulator import Emulator
from tests.deployment.faults import KEY
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import until

pytestmark = pytest.mark.extended

EXAMPLE = Path(__file__).parents[3] / "flows_examples" / "when_a_run_ends.py"
LOOK = "emit-test-run-events/every-minute"
TELL = "tell/when-staging-is-red"


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    """Return a local Empirical."""
    with Emulator(api_keys=[KEY]) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def served(prefect: Deployment, service: Emulator) -> Deployment:
    """Serve the example."""
    prefect.connect("prod", service.url)
    prefect.serve("example", EXAMPLE)
    until("it is served", lambda: all(deployed(prefect, name) for name in (LOOK, TELL)))
    return prefect


def deployed(prefect: Deployment, name: str) -> UUID | None:
    try:
        return prefect.server.read_deployment_by_name(name).id
    except ObjectNotFound:
        return None


def look(prefect: Deployment) -> str:
    """Have the service looked at once, and return what the final state says."""
    made = deployed(prefect, LOOK)
    assert made is not None
    state = prefect.completed(prefect.server.create_flow_run_from_deployment(made).id)
    return str(state.message)


def end(service: Emulator, outcome: str) -> int:
    """Start a run in staging, and let it end."""
    service.script("staging", outcome)
    with EmpiricalClient(api_key=KEY, base_url=service.url) as client:
        run_id = client.trigger(TestRunRequest(environment="staging")).id
    service.set_state(run_id, "ended")
    return run_id


def tellings(prefect: Deployment) -> list[UUID]:
    """Return the flow runs that an event has started."""
    runs = prefect.server.read_flow_runs()
    return [each.id for each in runs if each.deployment_id == deployed(prefect, TELL)]


@pytest.mark.scenario("a flow starts when a run ends")
def test_a_flow_starts_when_a_run_is_red(served: Deployment, service: Emulator) -> None:
    """Of a green and a red run that end, the red one starts the flow once, with its verdict."""
    look(served)
    green, red = end(service, "passed"), end(service, "failed")
    message = look(served)
    assert f"{green} passed" in message
    assert f"{red} failed" in message
    (started,) = until("an event has started the flow", lambda: tellings(served))
    served.completed(started)
    served.told(started, f"Red: Empirical test run {red} in staging failed")
    later = end(service, "passed")
    assert f"{later} passed" in look(served)
    assert tellings(served) == [started]
