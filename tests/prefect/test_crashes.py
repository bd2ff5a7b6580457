"""A flow's process is killed, and the flow run is retried: there is exactly one test run.

A real worker runs all flow runs at once; each test waits for its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from uuid import UUID

import pytest

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials
from tests.prefect.worker import Worker, until

# Prefect 3.6 does not install a module that its worker needs.
pytest.importorskip("prefect.workers.process", exc_type=ModuleNotFoundError)

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(400)]

KEY = "emp-key-c41d7790aa"

CRASHING = """
import os
import signal
from pathlib import Path

from prefect import flow

from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.prefect import EmpiricalCredentials, arun_tests, durable, run_tests

durable.GRACE = 2.0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(point: str, mark: str) -> None:
    try:
        with Path(mark).open("x") as file:  # only the first attempt dies
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    send, asend = EmpiricalClient._send, AsyncEmpiricalClient._send

    def dying(self, call, **more):
        if call.starts_run and point == "unsent":
            kill()
        answer = send(self, call, **more)
        if call.starts_run and point == "answered":
            kill()
        return answer

    async def adying(self, call, **more):
        if call.starts_run and point == "unsent":
            kill()
        answer = await asend(self, call, **more)
        if call.starts_run and point == "answered":
            kill()
        return answer

    EmpiricalClient._send, AsyncEmpiricalClient._send = dying, adying


@flow
def crashing(credentials: str, environment: str, point: str, mark: str):
    crash(point, mark)
    return run_tests(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        key_in_environment=True,
        poll_interval=0.2,
    )


@flow
async def acrashing(credentials: str, environment: str, point: str, mark: str):
    crash(point, mark)
    return await arun_tests(
        credentials=await EmpiricalCredentials.aload(credentials),
        environment=environment,
        poll_interval=0.2,
    )
"""

POINTS = ("acted", "waiting", "answered", "unsent")
"""When the process is killed: once the service has acted and before its answer arrives, while it
waits for the run, with the answer and before the id is saved, and before the request is sent."""

CASES = {f"{flow}-{point}": (flow, point) for point in POINTS for flow in ("crashing", "acrashing")}


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Emulator]]:
    """Return a local Empirical for each case; one shows the key in lists, the other in details."""
    with _Services() as services:
        yield services.of


class _Services:
    def __enter__(self) -> Self:
        self.of: dict[str, Emulator] = {}
        for name, (flow, point) in CASES.items():
            outcome = "stuck" if point == "waiting" else "passed"
            service = Emulator(api_keys=[KEY], environments={"staging": outcome})
            self.of[name] = service
            if flow == "acrashing":
                service.behave(echo_in_detail=service.behaviour.echo_in_detail | {"metadata"})
            service.start()
            if point == "acted":
                service.fault("trigger", "delay", when="after", delay=50)
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.of.values():
            service.stop()


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where the first attempts leave word."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Return a running worker."""
    with Worker(tmp_path_factory.mktemp("worker")) as worker:
        (worker.code / "crashing.py").write_text(CRASHING)
        yield worker


@pytest.fixture(scope="module")
def flow_runs(worker: Worker, services: dict[str, Emulator], marks: Path) -> dict[str, UUID]:
    """Start every flow run."""
    started = {}
    for name, (flow, point) in CASES.items():
        block = EmpiricalCredentials(api_key=KEY, base_url=services[name].url)
        block.save(f"crashing-{name}", overwrite=True)
        started[name] = worker.start(
            f"crashing.py:{flow}",
            flow,
            name,
            credentials=f"crashing-{name}",
            environment="staging",
            point=point,
            mark=str(marks / name),
        )
    return started


@pytest.mark.parametrize("name", CASES)
def test_a_killed_flow_run_that_is_retried_has_one_run(
    name: str,
    worker: Worker,
    flow_runs: dict[str, UUID],
    services: dict[str, Emulator],
    marks: Path,
) -> None:
    """Wherever the first attempt dies, the second ends green with the one run there is."""
    flow_run, service, point = flow_runs[name], services[name], CASES[name][1]
    if point in {"acted", "waiting"}:
        state = "queued" if point == "acted" else "started"
        until("the run exists", lambda: [each.state for each in service.runs] == [state])
        os.kill(int((marks / name).read_text()), signal.SIGKILL)

    assert worker.ended(flow_run).name == "Crashed"
    # The worker tells of a crash twice. A retry in between would be told to have crashed.
    until("the worker has told", lambda: "Check whether the flow run" in worker.log(flow_run))
    assert len(service.runs) == (0 if point == "unsent" else 1)
    looks = _looks(service)
    worker.retry(flow_run)
    if point == "waiting":
        until("it waits again", lambda: _looks(service) > looks)
        service.set_state(service.runs[0].id, "ended")
    state = until("it completes", lambda: _completed(worker, flow_run), 60)

    assert state.name == "Completed"
    (run,) = service.runs
    assert run.state == "ended"
    assert worker.states(flow_run).count("Running") == 2
    sends = [each for each in service.requests if each.endpoint == "trigger"]
    assert len(sends) == 1
    page = worker.artifact(flow_run, "empirical-verdict")
    assert f"run {run.id} in staging passed" in page.data


def _completed(worker: Worker, flow_run: UUID) -> object:
    state = worker.state(flow_run)
    assert state.name not in {"Failed", "Crashed"}, state.message
    return state if state.name == "Completed" else None


def _looks(service: Emulator) -> int:
    return [each.endpoint for each in service.requests].count("get_test_run")
