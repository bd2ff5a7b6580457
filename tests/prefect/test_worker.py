"""A real process worker runs the ready flow: the outcomes on the server, and a person's cancel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import get_current_settings
from prefect.states import Cancelling

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, run_empirical_tests

# Prefect 3.6 does not install a module that its worker needs.
pytest.importorskip("prefect.workers.process", exc_type=ModuleNotFoundError)

pytestmark = pytest.mark.deployment

POOL = "empirical-tests"

SUBMITTING = """
from prefect import flow
from empirical_provider.prefect import (
    EmpiricalCredentials, cancel_test_runs_on_cancellation, run_tests
)

@flow(on_cancellation=[cancel_test_runs_on_cancellation])
def submitting(credentials: str, environment: str, poll_interval: float):
    return run_tests.submit(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        poll_interval=poll_interval,
    ).result()
"""


@pytest.fixture
def run(
    server: SyncPrefectClient, credentials: EmpiricalCredentials, tmp_path: Path
) -> Iterator[Callable[..., UUID]]:
    """Start a worker and return a way to have it run a flow."""
    credentials.save("of-the-worker", overwrite=True)
    server.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
    code, work = tmp_path / "code", tmp_path / "work"  # Prefect copies the one into the other
    code.mkdir()
    work.mkdir()
    (code / "submitting.py").write_text(SUBMITTING)

    def start(entrypoint: str, name: str, environment: str) -> UUID:
        deployment = server.create_deployment(
            flow_id=server.create_flow_from_name(name),
            name="gate",
            work_pool_name=POOL,
            entrypoint=entrypoint,
            path=str(code),
            parameters={
                "credentials": "of-the-worker",
                "environment": environment,
                "poll_interval": 0.05,
            },
        )
        return server.create_flow_run_from_deployment(deployment).id

    prefect = Path(sys.executable).with_name("prefect")
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    command = f"worker start --pool {POOL} --type process --install-policy never"
    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(  # noqa: S603
            [prefect, *command.split()],
            cwd=work,
            env={**os.environ, **settings, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield start
        finally:
            worker.terminate()
            worker.wait(timeout=40)


@pytest.fixture
def ended(server: SyncPrefectClient) -> Callable[..., Any]:
    """Return the final state of a flow run, once there is one."""

    def look(flow_run_id: UUID) -> Any:
        state = server.read_flow_run(flow_run_id).state
        return state if state and state.is_final() else None

    return look


READY = "empirical_provider.prefect.flows.run_empirical_tests"


def test_a_worker_runs_the_gate(
    run: Callable[..., UUID],
    ended: Callable[..., Any],
    empirical: Emulator,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """Green completes, red fails by name, and cancels over the API cancel the run, once each.

    One of the waits that are cancelled is submitted: no signal reaches its thread, and the hook
    cancels its run once Prefect has killed the process, half a minute later.
    """
    empirical.script("production", "stuck")
    called = run(READY, run_empirical_tests.name, "production")
    submitted = run("submitting.py:submitting", "submitting", "production")
    green = run(READY, run_empirical_tests.name, "staging")

    def stuck() -> list[Any]:
        return [each for each in empirical.runs if each.environment == "production"]

    eventually(lambda: [each.state for each in stuck()] == ["started"] * 2, 60)
    for each in (called, submitted):
        server.set_flow_run_state(each, Cancelling())
    state = eventually(lambda: ended(green), 60)
    assert (state.name, state.result()["outcome"]) == ("Completed", "passed")
    assert state.message.startswith(f"Empirical test run {state.result()['run_id']} in staging pas")

    empirical.script("staging", "failed", total=3, failed=1)
    red = run(READY, run_empirical_tests.name, "staging")
    state = eventually(lambda: ended(red), 60)
    assert state.name == "Failed"
    assert f"Empirical test run {empirical.runs[-1].id} in staging failed: 1 of 3" in state.message

    assert eventually(lambda: ended(called), 60).name == "Cancelled"
    assert eventually(lambda: ended(submitted), 60).name == "Cancelled"
    assert {each.state for each in stuck()} <= {"cancelling", "cancelled"}
    cancels = [each for each in empirical.requests if each.endpoint == "cancel_test_run"]
    assert len(cancels) == 2
