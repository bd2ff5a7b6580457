"""A real process worker for Prefect's server, and the flow runs that it is given."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import get_current_settings

T = TypeVar("T")

POOL = "empirical-tests"
AT_ONCE = 4
"""Flow runs that the worker runs at the same time: each is a process that starts for seconds."""

GRACE = 10.0
"""Seconds that the worker has to end by itself."""


def until(what: str, look: Callable[[], T], limit: float = 150.0) -> T:
    """Look until there is something to see; fail when that takes too long."""
    end = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
        time.sleep(0.2)
    return seen


class Worker:
    """A worker with a pool of its own, from started to gone.

    Args:
        folder: Where it may write; the modules of flows are looked for in ``code`` below it.
    """

    def __init__(self, folder: Path) -> None:
        self.code, self._work = folder / "code", folder / "work"
        self._log = folder / "worker.log"
        self.code.mkdir()
        self._work.mkdir()  # Prefect copies the one into the other

    def __enter__(self) -> Self:
        self._clients = get_client(sync_client=True)
        self._server: SyncPrefectClient = self._clients.__enter__()
        # The worker's own limit would end the worker when a flow run is retried before it has let
        # go of it; the pool's does not.
        pool = WorkPoolCreate(name=POOL, type="process", concurrency_limit=AT_ONCE)
        self._server.create_work_pool(pool, overwrite=True)
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        command = f"worker start --pool {POOL} --type process --install-policy never"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the command of this environment
                [Path(sys.executable).with_name("prefect"), *command.split()],
                cwd=self._work,
                env={**os.environ, **settings, "PREFECT_WORKER_QUERY_SECONDS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._clients.__exit__(kind, error, trace)

    def start(self, entrypoint: str, name: str, deployment: str, **parameters: Any) -> UUID:
        """Have the worker run a flow; return the flow run's id."""
        made = self._server.create_deployment(
            flow_id=self._server.create_flow_from_name(name),
            name=deployment,
            work_pool_name=POOL,
            entrypoint=entrypoint,
            path=str(self.code),
            parameters=parameters,
        )
        return self._server.create_flow_run_from_deployment(made).id

    def cancel(self, flow_run_id: UUID) -> None:
        """Cancel a flow run by the request that Prefect's UI sends."""
        self._server._client.post(
            f"/flow_runs/{flow_run_id}/set_state",
            json={"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True},
        ).raise_for_status()

    def retry(self, flow_run_id: UUID) -> None:
        """Retry a flow run by the request that Prefect's UI sends."""
        self._server._client.post(
            f"/flow_runs/{flow_run_id}/set_state",
            json={
                "state": {
                    "type": "SCHEDULED",
                    "name": "AwaitingRetry",
                    "message": "Retry from the UI",
                },
                "force": True,
            },
        ).raise_for_status()

    def states(self, flow_run_id: UUID) -> list[str]:
        """Return the names of all states that a flow run was in, oldest first."""
        states = self._server.read_flow_run_states(flow_run_id)
        return [each.name for each in sorted(states, key=lambda state: state.timestamp)]

    def state(self, flow_run_id: UUID) -> Any:
        """Return the state of a flow run as the server has it."""
        return self._server.read_flow_run(flow_run_id).state

    def ended(self, flow_run_id: UUID) -> Any:
        """Return the final state of a flow run, once there is one."""

        def final() -> Any:
            state = self.state(flow_run_id)
            return state if state and state.is_final() else None

        return until(f"flow run {flow_run_id} has ended", final)

    def artifact(self, flow_run_id: UUID, key: str) -> Any:
        """Return the one artifact of a flow run that has this key."""
        ours = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]),
            key=ArtifactFilterKey(any_=[key]),
        )
        (found,) = self._server.read_artifacts(artifact_filter=ours)
        return found

    def log(self, flow_run_id: UUID) -> str:
        """Return what the server has of a flow run's log."""
        ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        return "\n".join(each.message for each in self._server.read_logs(log_filter=ours))
