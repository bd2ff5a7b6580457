"""Processes die while there is a run: of a flow, of the server, of the worker. It stays the one.

A real worker runs all flow runs at once; each test waits for its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import run_empirical_tests
from tests.deployment.conftest import started_by
from tests.deployment.faults import KEY, looks
from tests.deployment.prefect.flows.crashing import acrashing, crashing
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import until

FLOWS: Mapping[str, Flow[..., Any]] = {"crashing": crashing, "acrashing": acrashing}
POINTS = ("acted", "waiting", "answered", "unsent")
"""When the process is killed: once the service has acted and before its answer arrives, while it
waits for the run, with the answer and before the id is saved, and before the request is sent."""

CASES = {f"{flow}-{point}": (flow, point) for point in POINTS for flow in FLOWS}
BASIC = "crashing-acted"

WAITS = ("server", "worker")
"""The processes of Prefect that end while a flow run waits."""


@pytest.fixture(scope="module")
def services(request: pytest.FixtureRequest) -> Iterator[dict[str, Emulator]]:
    """Return a local Empirical for each flow run; some show the key in details, some in lists."""
    with ExitStack() as stack:
        services = {}
        for name in started_by(request):
            flow, point = CASES.get(name, ("", "waiting"))
            outcome = "stuck" if point == "waiting" else "passed"
            service = Emulator(api_keys=[KEY], environments={"staging": outcome})
            if flow == "acrashing":
                service.behave(echo_in_detail=service.behaviour.echo_in_detail | {"metadata"})
            services[name] = stack.enter_context(service)
            if point == "acted":
                service.fault("trigger", "delay", when="after", delay=50)
        yield services


@pytest.fixture(scope="module")
def flow_runs(prefect: Deployment, services: dict[str, Emulator]) -> dict[str, UUID]:
    """Start every flow run."""
    started = {}
    for name, service in services.items():
        block = f"processes-{name}"
        prefect.connect(block, service.url)
        common = {"credentials": block, "environment": "staging"}
        if name in CASES:
            flow, point = CASES[name]
            started[name] = prefect.start(FLOWS[flow], name, point=point, **common)
        else:
            started[name] = prefect.start(run_empirical_tests, name, poll_interval=0.2, **common)
    return started


@pytest.fixture(scope="module")
def retried(
    prefect: Deployment, flow_runs: dict[str, UUID], services: dict[str, Emulator]
) -> Iterator[Mapping[str, Future[None]]]:
    """Have every first attempt die and its flow run retried, all at the same time."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {
            name: pool.submit(_die_and_retry, point, prefect, flow_runs[name], services[name])
            for name, (_, point) in CASES.items()
            if name in flow_runs
        }


def _die_and_retry(point: str, prefect: Deployment, flow_run: UUID, service: Emulator) -> None:
    if point in {"acted", "waiting"}:
        state = "queued" if point == "acted" else "started"
        until("the run exists", lambda: [each.state for each in service.runs] == [state])
        prefect.kill_process_of(flow_run)
    prefect.crashed(flow_run)
    assert len(service.runs) == (0 if point == "unsent" else 1)
    seen = looks(service)
    prefect.retry(flow_run)
    if point == "waiting":
        until("it waits again", lambda: looks(service) > seen)
        service.set_state(service.runs[0].id, "ended")
    prefect.completed(flow_run)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.starts(name), *([] if name == BASIC else [pytest.mark.extended])],
        )
        for name in CASES
    ],
)
@pytest.mark.scenario("flow process SIGKILL: {name}")
def test_a_killed_flow_run_that_is_retried_has_one_run(
    name: str,
    prefect: Deployment,
    flow_runs: dict[str, UUID],
    services: dict[str, Emulator],
    retried: Mapping[str, Future[None]],
) -> None:
    """Wherever the first attempt dies, the second ends green with the one run there is."""
    retried[name].result()

    flow_run, service = flow_runs[name], services[name]
    (run,) = service.runs
    assert run.state == "ended"
    assert prefect.states(flow_run).count("Running") == 2
    assert _triggers(service) == 1
    page = prefect.artifact(flow_run, "empirical-verdict")
    assert f"run {run.id} in staging passed" in page.data


@pytest.mark.extended
@pytest.mark.starts("server")
@pytest.mark.scenario("Prefect server restart mid-wait")
def test_the_server_is_restarted(
    prefect: Deployment, flow_runs: dict[str, UUID], services: dict[str, Emulator]
) -> None:
    """A wait goes on while the server is away, and completes once it is back, with one run.

    Also where there is news to show meanwhile, which the server cannot be told.
    """
    flow_run, service = flow_runs["server"], services["server"]
    until("it waits", lambda: looks(service) > 2)

    with prefect.without("server", signal.SIGTERM):
        service.set_state(service.runs[0].id, "queued")
        seen = looks(service)
        until("it waits without the server", lambda: looks(service) > seen + 5)
    seen = looks(service)
    until("it waits with the server", lambda: looks(service) > seen + 5)
    service.set_state(service.runs[0].id, "ended")

    state = prefect.completed(flow_run)
    (run,) = service.runs
    assert f"Empirical test run {run.id} in staging passed" in state.message
    assert prefect.states(flow_run).count("Running") == 1
    assert _triggers(service) == 1
    assert prefect.artifact(flow_run, "empirical-progress").data == 100
    assert prefect.artifact(flow_run, "empirical-verdict")
    prefect.told(flow_run, "The gate says pass.")


@pytest.mark.extended
@pytest.mark.starts("worker")
@pytest.mark.scenario("worker SIGTERM mid-wait")
def test_the_worker_is_restarted(
    prefect: Deployment, flow_runs: dict[str, UUID], services: dict[str, Emulator]
) -> None:
    """A worker that is told to end cancels no run, and a retry of its flow run goes on with it.

    Prefect kills the process of the flow without a word to it or to the server, where the flow run
    stays Running until somebody retries it.
    """
    flow_run, service = flow_runs["worker"], services["worker"]
    until("it waits", lambda: looks(service) > 2)

    with prefect.without("worker", signal.SIGTERM):
        until("its process is gone", lambda: prefect.process_of(flow_run) is None)
        assert [each.state for each in service.runs] == ["started"]
        assert prefect.state(flow_run).name == "Running"

    seen = looks(service)
    prefect.retry(flow_run)
    until("it waits again", lambda: looks(service) > seen + 1)
    service.set_state(service.runs[0].id, "ended")
    prefect.completed(flow_run)
    assert [each.state for each in service.runs] == ["ended"]
    assert _triggers(service) == 1


def _triggers(service: Emulator) -> int:
    return [each.endpoint for each in service.requests].count("trigger")
