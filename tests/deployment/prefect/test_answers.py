"""What goes wrong with the service while flows wait for it: each waits through a fault of its own.

All flow runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest

from empirical_provider.prefect import run_empirical_tests
from tests.deployment import faults
from tests.deployment.faults import Scene
from tests.deployment.prefect.host import Deployment

pytestmark = pytest.mark.extended

ERRORS = {"authentication": "AuthenticationError", "not_found": "NotFoundError"}
"""The kind of error that the final state tells where there is no verdict."""


@pytest.fixture(scope="module")
def scenes() -> Iterator[Mapping[str, Scene]]:
    """Return the services, each with its fault to come."""
    with faults.playing() as scenes:
        yield scenes


@pytest.fixture(scope="module")
def flow_runs(prefect: Deployment, scenes: Mapping[str, Scene]) -> dict[str, UUID]:
    """Start a flow run for each service, in the order of the table: the longest is its first."""
    started = {}
    for number, (name, scene) in enumerate(scenes.items()):
        block = f"answers-{number}"
        prefect.connect(block, scene.emulator.url)
        started[name] = prefect.start(
            run_empirical_tests,
            block,
            credentials=block,
            environment="staging",
            poll_interval=faults.POLL_INTERVAL,
        )
    return started


@pytest.mark.parametrize("name", faults.FAULTS)
@pytest.mark.scenario("service: {name}")
def test_a_fault_in_the_middle_of_a_wait(
    name: str,
    prefect: Deployment,
    scenes: Mapping[str, Scene],
    flow_runs: Mapping[str, UUID],
) -> None:
    """Trouble is waited through and told in the log; what is final ends the flow, with one run."""
    scene, flow_run = scenes[name], flow_runs[name]

    scene.finished()
    state: Any = prefect.ended(flow_run)

    prefect.told(flow_run, *scene.fault.told)
    scene.has_one_run()
    outcome = scene.fault.outcome
    assert state.name == ("Completed" if outcome == "passed" else "Failed"), state.message
    if outcome in ERRORS:
        assert ERRORS[outcome] in state.message
        assert "empirical-verdict" not in {each.key for each in prefect.artifacts(flow_run)}
    else:
        page = prefect.artifact(flow_run, "empirical-verdict")
        assert f"| outcome | {outcome} |" in page.data
        assert f"Empirical test run {scene.run_id} in staging " in state.message
    if outcome == "passed":
        assert state.result()["outcome"] == "passed"
