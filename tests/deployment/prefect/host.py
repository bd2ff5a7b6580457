"""A whole Prefect on this machine: server, process worker, a home of their own, and the API."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

import httpx
import psutil
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from pydantic import SecretStr

from empirical_provider.prefect import EmpiricalCredentials
from tests.deployment.faults import KEY
from tests.deployment.processes import MARK, Processes, free_port, until

POOL = "empirical-tests"
AT_ONCE = 16
"""Flow runs that the worker runs at the same time: each is a process that starts for seconds, and
then mostly waits."""

_LOG_PAGE = 200
"""Lines of a log that the server hands out at once."""


class Deployment:
    """A whole Prefect, from healthy to gone: the processes ``server`` and ``worker``.

    While it is entered, Prefect's client in this process talks to it, too.
    """

    def __init__(self) -> None:
        self._processes = Processes("prefect-deployment")
        self.home = self._processes.home
        self.database = self.home / "prefect.db"
        self.storage = self.home / "storage"
        address = f"http://127.0.0.1:{free_port()}"
        self.url = f"{address}/api"
        temporary = self.home / "tmp"
        temporary.mkdir()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self.environment = {
            **ours,
            "DO_NOT_TRACK": "1",
            "NO_PROXY": "127.0.0.1",
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.database}",
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.home),
            "PREFECT_LOCAL_STORAGE_PATH": str(self.storage),
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",  # seconds until a log can be read
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_API_URL": self.url,
            "PREFECT_UI_URL": address,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "TMPDIR": str(temporary),  # where flows are run: what a killed one leaves goes, too
        }
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self._exits.callback(self._processes.end)
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def _start(self) -> None:
        self._worker_began: datetime | None = None
        self._processes.bring_up("Prefect", self._start_server, self._is_up)

    def _start_server(self) -> None:
        self._worker_began = None
        port = self.url.removesuffix("/api").rpartition(":")[2]
        self._run("server", "server", "start", "--host", "127.0.0.1", "--port", port)

    def _is_up(self) -> bool:
        """Return whether both are up; the worker is started once the server is healthy."""
        if not self._healthy():
            return False
        if self._worker_began is None:
            self._open_client()
            # The worker's own limit would end the worker when a flow run is retried before it has
            # let go of it; the pool's does not.
            pool = WorkPoolCreate(name=POOL, type="process", concurrency_limit=AT_ONCE)
            self.server.create_work_pool(pool, overwrite=True)
            self._worker_began = datetime.now(UTC)
            options = f"--pool {POOL} --type process --install-policy never"
            self._run("worker", "worker", "start", *options.split())
        return self._at_work(self._worker_began)

    def _open_client(self) -> None:
        if hasattr(self, "server"):
            return
        here = {
            PREFECT_API_URL: self.url,
            PREFECT_HOME: str(self.home),
            PREFECT_LOCAL_STORAGE_PATH: str(self.storage),  # 3.6 does not derive it anew
        }
        self._exits.enter_context(temporary_settings(here))
        self.server: SyncPrefectClient = self._exits.enter_context(get_client(sync_client=True))

    def _run(self, name: str, *words: str) -> None:
        command: list[str | Path] = [Path(sys.executable).with_name("prefect"), *words]
        self._processes.start(name, command, self.environment, self.home)

    def serve(self, name: str, script: Path) -> None:
        """Run a script that serves flows."""
        environment = {**self.environment, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        self._processes.start(name, [sys.executable, script], environment, self.home)

    def _healthy(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success
        return False

    def _at_work(self, since: datetime) -> bool:
        beats = [each.last_heartbeat_time for each in self.server.read_workers_for_work_pool(POOL)]
        return any(beat is not None and beat > since for beat in beats)

    # Its processes

    def kill(self, name: str, how: signal.Signals) -> None:
        """End one of the two by a signal to it alone.

        A worker of Prefect 3.8.8 ends its flow runs at once, but may hang for more than 150 s while
        it takes leave of a server that was just restarted: then it is killed, as by a supervisor.
        """
        self._processes.kill(name, how, insist_after=30.0)

    def again(self, name: str) -> None:
        """Start one that has ended again, and wait until it is up."""
        began = datetime.now(UTC)
        self._processes.again(name)
        if name == "server":
            until("the server is healthy again", self._healthy)
        else:
            until("the worker is back at work", lambda: self._at_work(began))
        self._processes.all_alive()

    @contextmanager
    def without(self, name: str, how: signal.Signals) -> Iterator[None]:
        """End one of the two for a while; it is back afterwards, whatever happens in between."""
        self.kill(name, how)
        try:
            yield
        finally:
            self.again(name)

    def output(self) -> str:
        """Return what the processes have written last, for a failure's message."""
        return self._processes.output()

    def process_of(self, flow_run_id: UUID) -> psutil.Process | None:
        """Return the living process of a flow run, which must carry the mark of this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                environment = process.environ()
                if environment.get("PREFECT__FLOW_RUN_ID") == str(flow_run_id):
                    assert environment.get(MARK) == str(self.home), "it would outlive the tests"
                    found.append(process)
        return max(found, key=psutil.Process.create_time, default=None)

    def kill_process_of(self, flow_run_id: UUID) -> None:
        """Kill the process of a flow run with SIGKILL."""
        process = self.process_of(flow_run_id)
        assert process is not None, f"flow run {flow_run_id} has no process"
        process.kill()

    # Its API

    def connect(self, name: str, url: str) -> EmpiricalCredentials:
        """Save the credentials for a local Empirical as a block, and load them again."""
        EmpiricalCredentials(api_key=SecretStr(KEY), base_url=url).save(name)
        loaded: Any = EmpiricalCredentials.load(name)  # Prefect's types let it be a coroutine
        return cast("EmpiricalCredentials", loaded)

    def start(self, flow: Flow[..., Any], deployment: str, **parameters: Any) -> UUID:
        """Have the worker run a flow of a module by a deployment; return the flow run's id."""
        made = self.server.create_deployment(
            flow_id=self.server.create_flow_from_name(flow.name),
            name=deployment,
            work_pool_name=POOL,
            entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
            parameters=parameters,
        )
        return self.server.create_flow_run_from_deployment(made).id

    def _set_state(self, flow_run_id: UUID, **state: str) -> None:
        """Set a state by the request that Prefect's UI sends."""
        path, body = f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True}
        self.server._client.post(path, json=body).raise_for_status()

    def cancel(self, flow_run_id: UUID) -> None:
        """Cancel a flow run, as a person does in the browser."""
        self._set_state(flow_run_id, type="CANCELLING", name="Cancelling")

    def retry(self, flow_run_id: UUID) -> None:
        """Retry a flow run, as a person does in the browser, until it runs again.

        Prefect's worker tells of a crash twice, and the second word may undo a retry that has not
        begun: then a person does it again.
        """
        ran = self.states(flow_run_id).count("Running")
        again = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}

        def runs() -> bool:
            if self.state(flow_run_id).name == "Crashed":
                self._set_state(flow_run_id, **again)
            return self.states(flow_run_id).count("Running") > ran

        self._set_state(flow_run_id, **again)
        until(f"flow run {flow_run_id} runs again", runs)

    def states(self, flow_run_id: UUID) -> list[str]:
        """Return the names of all states that a flow run was in, oldest first."""
        states = self.server.read_flow_run_states(flow_run_id)
        return [each.name or "" for each in sorted(states, key=lambda state: state.timestamp)]

    def state(self, flow_run_id: UUID) -> Any:
        """Return the state of a flow run as the server has it."""
        return self.server.read_flow_run(flow_run_id).state

    def ended(self, flow_run_id: UUID) -> Any:
        """Return the final state of a flow run, once there is one."""

        def final() -> Any:
            state = self.state(flow_run_id)
            return state if state and state.is_final() else None

        return until(f"flow run {flow_run_id} has ended", final)

    def completed(self, flow_run_id: UUID) -> Any:
        """Return the final state of a flow run that was retried; it must be Completed."""

        def good() -> Any:
            state = self.state(flow_run_id)
            assert state.name not in {"Failed", "Crashed"}, state.message
            return state if state.name == "Completed" else None

        return until(f"flow run {flow_run_id} completes", good)

    def crashed(self, flow_run_id: UUID) -> None:
        """Wait until the server knows that the process of a flow run has died.

        The worker tells of a crash twice, the second time after a process of its own that looks for
        hooks has come and gone. A retry in between would be told to have crashed.
        """
        assert self.ended(flow_run_id).name == "Crashed"
        self.told(flow_run_id, "Check whether the flow run")

    def artifacts(self, flow_run_id: UUID) -> list[Any]:
        """Return all artifacts of a flow run."""
        ours = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        return self.server.read_artifacts(artifact_filter=ours)

    def artifact(self, flow_run_id: UUID, key: str) -> Any:
        """Return the one artifact of a flow run that has this key."""
        (found,) = [each for each in self.artifacts(flow_run_id) if each.key == key]
        return found

    def log(self, flow_run_id: UUID) -> str:
        """Return what the server has of a flow run's log."""
        ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        lines: list[str] = []
        while True:
            page = self.server.read_logs(log_filter=ours, limit=_LOG_PAGE, offset=len(lines))
            lines += [each.message for each in page]
            if len(page) < _LOG_PAGE:
                return "\n".join(lines)

    def told(self, flow_run_id: UUID, *words: str) -> str:
        """Return a flow run's log once it holds some words: it is sent in the background."""

        def missing() -> list[str]:
            return [word for word in words if word not in self.log(flow_run_id)]

        try:
            until("the log is complete", lambda: not missing())
        except AssertionError:
            raise AssertionError(f"{missing()} not in:\n{self.log(flow_run_id)}") from None
        return self.log(flow_run_id)
