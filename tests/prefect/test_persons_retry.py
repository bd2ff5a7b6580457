"""A person retries a flow run: it tests afresh, unless its process had crashed.

Flow runs of a deployment are run here in the process of the tests, by Prefect's own engine: what a
worker would do, without the seconds that it takes to start one.
"""

from __future__ import annotations

import asyncio
import inspect
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.states import AwaitingRetry

from empirical_provider import TestsFailedError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import trigger_test_run

if TYPE_CHECKING:
    from conftest import Twin


pytestmark = pytest.mark.seconds


def _count(empirical: Emulator, endpoint: str) -> int:
    return [each.endpoint for each in empirical.requests].count(endpoint)


class Deployed:
    """A flow run of a deployment, that a person can retry."""

    def __init__(self, server: SyncPrefectClient, made: Flow[..., Any]) -> None:
        self._server, self._flow = server, made
        deployment = server.create_deployment(
            flow_id=server.create_flow_from_name(made.name), name="tested"
        )
        self.id = server.create_flow_run_from_deployment(deployment).id

    def run(self) -> str:
        """Run an attempt, and return the state it ends in."""
        flow_run = self._server.read_flow_run(self.id)
        try:
            result = run_flow(self._flow, flow_run=flow_run, return_type="state")
            if inspect.isawaitable(result):
                asyncio.run(result)
        except KeyboardInterrupt:
            pass  # a crash
        state = self._server.read_flow_run(self.id).state
        assert state is not None
        return str(state.name)

    def takes(self, made: Flow[..., Any]) -> None:
        """Load the flow anew, for the next attempt."""
        self._flow = made

    def retry(self, *, force: bool) -> None:
        """Do what one of Prefect's two user interfaces does."""
        state = AwaitingRetry(message="Retry from the UI")
        self._server.set_flow_run_state(self.id, state, force=force)


@pytest.fixture
def deploy(server: SyncPrefectClient) -> Callable[[Flow[..., Any]], Deployed]:
    """Return a way to get a flow run of a deployment."""
    return lambda made: Deployed(server, made)


def _gate_that(ends: list[Any], running: Twin, gate: dict[str, Any]) -> Flow[..., Any]:
    """Return a flow that gates, and then ends its attempts as told."""

    def end(verdict: dict[str, Any]) -> dict[str, Any]:
        how = ends.pop(0) if ends else None
        if how is not None:
            raise how
        return verdict

    if running.is_async:

        @flow(name="release")
        async def release() -> dict[str, Any]:
            return end(await running.task(**gate))

    else:

        @flow(name="release")
        def release() -> dict[str, Any]:
            return end(running.task(**gate))

    return release


@pytest.mark.parametrize("force", [True, False], ids=["new-ui", "old-ui"])
@pytest.mark.parametrize("ended", ["Failed", "Completed"])
def test_a_person_who_retries_gets_a_fresh_run(  # noqa: PLR0917  # fixtures, passed by name
    ended: str,
    force: bool,
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    deploy: Callable[[Flow[..., Any]], Deployed],
) -> None:
    """A gate that was red, or passed, is tested anew, and judged by the new run, each time."""
    empirical.script("staging", "failed" if ended == "Failed" else "passed", runs=1)
    flow_run = deploy(_gate_that([], running, gate))
    assert flow_run.run() == ended
    for _ in range(2):
        flow_run.retry(force=force)
        assert flow_run.run() == "Completed"

    assert len(empirical.runs) == 3


def test_a_crash_is_no_end(
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    deploy: Callable[[Flow[..., Any]], Deployed],
) -> None:
    """A flow run that crashed is retried with its run, and only later, once it has failed, anew."""
    crash, failure = KeyboardInterrupt(), RuntimeError("something else failed")
    flow_run = deploy(_gate_that([crash, crash, failure, crash], running, gate))
    counts = []
    for ends in ("Crashed", "Crashed", "Failed", "Crashed", "Completed"):
        assert flow_run.run() == ends
        counts.append(len(empirical.runs))
        flow_run.retry(force=True)

    assert counts == [1, 1, 1, 2, 2]


FLOWS = """
from prefect import flow, task

@task
def gate():
    trigger()

@flow
def inner():
    gate()

@flow(name="release")
def release():
    inner()
    end()
"""


def test_the_next_process_has_the_code_elsewhere(
    call: dict[str, Any],
    empirical: Emulator,
    deploy: Callable[[Flow[..., Any]], Deployed],
    tmp_path: Path,
) -> None:
    """A worker that loads the flow from another folder goes on with the run of a crashed one."""
    ends = [KeyboardInterrupt(), None]

    def end() -> None:
        if (how := ends.pop(0)) is not None:
            raise how

    def load(folder: str) -> dict[str, Any]:
        loaded: dict[str, Any] = {"trigger": lambda: trigger_test_run(**call), "end": end}
        path = tmp_path / folder / "flows.py"
        path.parent.mkdir()
        path.write_text(FLOWS, "utf-8")
        return runpy.run_path(str(path), loaded)

    one, other = load("one"), load("other")
    assert one["gate"].task_key != other["gate"].task_key  # Prefect's holds a hash of the code
    flow_run = deploy(one["release"])

    assert flow_run.run() == "Crashed"
    flow_run.retry(force=True)
    flow_run.takes(other["release"])
    assert flow_run.run() == "Completed"

    assert len(empirical.runs) == 1


@pytest.mark.usefixtures("echoes")
def test_a_person_who_retries_does_not_go_by_the_key(
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    deploy: Callable[[Flow[..., Any]], Deployed],
) -> None:
    """Also with a key of the user's a retry is a fresh run, and others go on with theirs."""
    empirical.script("staging", "failed", runs=1)
    keyed = {**gate, "key": "release-7"}
    flow_run = deploy(_gate_that([], running, keyed))
    assert flow_run.run() == "Failed"
    flow_run.retry(force=True)

    assert flow_run.run() == "Completed"

    assert len(empirical.runs) == 2
    with pytest.raises(TestsFailedError):
        running(**keyed)
    assert len(empirical.runs) == 2


def test_a_persons_retry_can_re_run_what_failed(
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    deploy: Callable[[Flow[..., Any]], Deployed],
) -> None:
    """Where red is to be re-run, a person's retry of a red gate re-runs what failed."""
    empirical.script("staging", "failed", runs=1)
    made = _gate_that([], running, {**gate, "on_retry_after_red": "rerun_failed"})
    flow_run = deploy(made)
    assert flow_run.run() == "Failed"
    flow_run.retry(force=True)

    assert flow_run.run() == "Completed"

    assert _count(empirical, "trigger") == 1
    assert _count(empirical, "rerun_test_run") == 1
