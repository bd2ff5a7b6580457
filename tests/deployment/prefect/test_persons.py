"""What a person does and sees: a cancel of a flow run, and how the ready flow ends.

All flow runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import run_empirical_tests
from tests.deployment.conftest import started_by
from tests.deployment.faults import KEY
from tests.deployment.prefect.flows.basics import gate_by_task
from tests.deployment.prefect.flows.persons import submitting
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import until

BLOCK = "persons"
POLL_INTERVAL = 0.2

WAITS: Mapping[str, Flow[..., Any]] = {"submitted": submitting, "called": gate_by_task}

OUTCOMES: Mapping[str, tuple[dict[str, Any], str, str]] = {
    # outcome: parameters, final state, words of its message
    "passed": ({}, "Completed", "passed: "),
    "failed": ({}, "Failed", "failed: 1 of 5 failed."),
    "error": ({}, "Failed", "ended in error: it has no usable result (run_failed_with_error)."),
    "cancelled": ({}, "Failed", "was cancelled: "),
    "superseded": ({"policy": {"superseded": "skip"}}, "Completed", "was superseded: "),
    "no_tests": ({}, "Failed", "ran too few tests: 0 ran, and at least 1 must."),
    "timed_out": ({"timeout": 1.0}, "Failed", "was not waited for any longer: it is started"),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    """Return a local Empirical; runs in its environments end as they say."""
    environments = {name: name for name in OUTCOMES if name != "timed_out"}
    environments |= {"timed_out": "stuck", "called": "stuck", "submitted": "stuck"}
    with Emulator(api_keys=[KEY], environments=environments) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def flow_runs(
    request: pytest.FixtureRequest, prefect: Deployment, service: Emulator
) -> dict[str, UUID]:
    """Start every flow run, those that a user cancels first: they take longest."""
    prefect.connect(BLOCK, service.url)
    common: dict[str, Any] = {"credentials": BLOCK, "poll_interval": POLL_INTERVAL}
    wanted = started_by(request)
    started = {
        name: prefect.start(flow, f"cancelled-{name}", environment=name, **common)
        for name, flow in WAITS.items()
        if name in wanted
    }
    for name, (more, _, _) in OUTCOMES.items():
        if name in wanted:
            started[name] = prefect.start(
                run_empirical_tests, f"outcome-{name}", environment=name, **common, **more
            )
    return started


@pytest.fixture(scope="module")
def _cancelled(prefect: Deployment, flow_runs: dict[str, UUID], service: Emulator) -> None:
    """Cancel both flow runs as soon as each waits, so that they end at the same time."""
    for name in [name for name in WAITS if name in flow_runs]:
        until(f"{name} waits", partial(_waits, service, name))
        prefect.cancel(flow_runs[name])


@pytest.mark.extended
@pytest.mark.parametrize(
    "outcome", [pytest.param(each, marks=pytest.mark.starts(each)) for each in OUTCOMES]
)
@pytest.mark.scenario("ready flow: {outcome}")
@pytest.mark.usefixtures("_cancelled")  # that takes half a minute, so it is begun first
def test_the_outcome_of_the_ready_flow(
    outcome: str, prefect: Deployment, flow_runs: dict[str, UUID], service: Emulator
) -> None:
    """The final state names the run and what became of it, and a page and the progress show it."""
    _, name, words = OUTCOMES[outcome]

    state = prefect.ended(flow_runs[outcome])

    (run,) = [each for each in service.runs if each.environment == outcome]
    assert state.name == name
    assert f"Empirical test run {run.id} in {outcome} {words}" in state.message
    if name == "Completed":
        assert state.result()["outcome"] == outcome
    page = prefect.artifact(flow_runs[outcome], "empirical-verdict")
    assert f"| outcome | {outcome.replace('_', chr(92) + '_')} |" in page.data
    progress = prefect.artifact(flow_runs[outcome], "empirical-progress")
    assert progress.data == (50 if outcome == "timed_out" else 100)


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param("submitted", marks=[pytest.mark.starts("submitted"), pytest.mark.extended]),
        pytest.param("called", marks=pytest.mark.starts("called")),
    ],
)
@pytest.mark.scenario("cancel by a person, {wait} wait")
@pytest.mark.usefixtures("_cancelled")
def test_a_persons_cancel_cancels_the_run(
    wait: str, prefect: Deployment, flow_runs: dict[str, UUID], service: Emulator
) -> None:
    """What the UI sends ends flow run and test run, with one request, also for a submitted wait.

    The called one has no hook: it notices the signal. None reaches the thread of the submitted one:
    the hook cancels its run once Prefect has killed the process, half a minute later.
    """
    assert prefect.ended(flow_runs[wait]).name == "Cancelled"
    until("the run is cancelled", lambda: _states(service, wait) <= {"cancelling", "cancelled"})

    (run,) = [each for each in service.runs if each.environment == wait]
    paths = [each.path for each in service.requests]
    assert paths.count(f"/api/test-runs/{run.id}/cancel") == 1
    assert [each.body["environment"] for each in _triggers(service)].count(wait) == 1


def _triggers(service: Emulator) -> list[Any]:
    return [each for each in service.requests if each.endpoint == "trigger"]


def _waits(service: Emulator, environment: str) -> bool:
    return "started" in _states(service, environment)


def _states(service: Emulator, environment: str) -> set[str]:
    return {each.state for each in service.runs if each.environment == environment}
