"""A Prefect server of our own for the whole session, and the two tasks in one form."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    ArtifactFilterTaskRunId,
)
from prefect.client.schemas.objects import State
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_BATCH_INTERVAL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    get_current_settings,
    temporary_settings,
)
from prefect.tasks import Task
from prefect.testing.utilities import prefect_test_harness

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    apreflight,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    preflight,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)
from tests.deployment.processes import LIMIT, START_LIMITS

PREFECTS_OWN_WARNINGS = (
    # Prefect leaves clients and database connections to the garbage collector.
    "ignore:unclosed:ResourceWarning",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    # A log line of a task outside of a flow has no flow run to go to.
    "ignore:Logger 'prefect.task_runs' attempted to send logs:UserWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let Prefect's own warnings be."""
    for each in PREFECTS_OWN_WARNINGS:
        config.addinivalue_line("filterwarnings", each)


def pytest_unconfigure() -> None:
    """Collect what Prefect has left open before pytest does, which takes it for an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@dataclass(frozen=True)
class Places:
    """Where Prefect writes: its home with the persisted results, and the server's database."""

    home: Path
    database: Path


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Run a Prefect server with a home of its own."""
    home = tmp_path_factory.mktemp("prefect-home")
    ours = {
        PREFECT_HOME: str(home),
        PREFECT_LOCAL_STORAGE_PATH: str(home / "storage"),  # 3.6 does not derive it anew
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # a flow would wait up to a second for its end
        PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.2,  # seconds until a log can be read
    }
    with temporary_settings(ours), ExitStack() as entered:
        _start_server(entered, home / "server.log")
        address = get_current_settings().server.database.connection_url
        yield Places(home, Path(address.get_secret_value().partition(":///")[2]).parent)


def _start_server(entered: ExitStack, log: Path) -> None:
    """Start the server of Prefect's own harness; end the session if it does not come up in time.

    Without it no test of the session can pass. The harness waits only as long as it is told, and
    gives up at the first response that is late: so it has a second start.
    """
    for limit in START_LIMITS:
        began = time.monotonic()
        # Ctrl-C is for the tests: without a server, what they are doing would be tried again and
        # again. The server inherits that the signal is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _output_to(log):
                entered.enter_context(prefect_test_harness(server_startup_timeout=int(limit)))
        except (RuntimeError, httpx.HTTPError) as error:
            failure = f"after {time.monotonic() - began:.0f} s: {error!r}"
            for each in [*SubprocessASGIServer._instances.values()]:
                each.stop()
        else:
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    pytest.exit(
        f"Prefect's server did not come up in two starts; the second one failed {failure}. What it"
        f" wrote last:\n{log.read_text(errors='replace')[-3_000:]}",
        returncode=1,
    )


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Have what is started meanwhile write its output to a file."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with file.open("ab") as opened:
        for number, _ in kept:
            os.dup2(opened.fileno(), number)
    try:
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


@pytest.fixture
def server() -> Iterator[SyncPrefectClient]:
    """Ask the server what it knows."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def artifacts(server: SyncPrefectClient) -> Callable[[State[Any], str], list[Any]]:
    """Return a way to read the artifacts of a task run, by the state it is in and their key."""

    def read(state: State[Any], key: str) -> list[Any]:
        ours = ArtifactFilter(
            task_run_id=ArtifactFilterTaskRunId(any_=[state.state_details.task_run_id]),
            key=ArtifactFilterKey(any_=[key]),
        )
        return server.read_artifacts(artifact_filter=ours)

    return read


@pytest.fixture(autouse=True)
def _quick_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait a minute for a run to be listed: the local Empirical lists it at once."""
    monkeypatch.setattr("empirical_provider.prefect.durable.GRACE", 0.1)
    monkeypatch.setattr("empirical_provider.wait._GRACE", 0.1)  # of a refused run page


@pytest.fixture
def credentials(empirical: Emulator, api_key: str) -> EmpiricalCredentials:
    """Return a block, not saved, for the local Empirical."""
    return EmpiricalCredentials(api_key=api_key, base_url=empirical.url)


@pytest.fixture
def call(credentials: EmpiricalCredentials) -> dict[str, Any]:
    """Return the arguments of a call that starts a run."""
    return {"credentials": credentials, "environment": "staging"}


@pytest.fixture
def gate(call: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that waits, too; the local Empirical moves a run by looks."""
    return {**call, "poll_interval": 0.01}


@pytest.fixture
def echoes(empirical: Emulator) -> None:
    """Have the service show the metadata of a run, and with them its key."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail | {"metadata"})


@dataclass(frozen=True)
class Twin:
    """One of the two tasks, called the same way whichever it is."""

    task: Task[..., Any]

    def __call__(self, **arguments: Any) -> Any:
        """Call the task outside of a flow."""
        result = self.task(**arguments)
        return asyncio.run(result) if self.task.isasync else result

    def state(self, **arguments: Any) -> State[Any]:
        """Call the task outside of a flow, which is faster than in one; return its state."""
        result = self.task(**arguments, return_state=True)
        return asyncio.run(result) if self.task.isasync else result

    def without_prefect(self, **arguments: Any) -> Any:
        """Call the function in the task, which takes a tenth of the time."""
        result = self.task.fn(**arguments)
        return asyncio.run(result) if self.task.isasync else result

    @property
    def is_async(self) -> bool:
        """Whether it is the one to await."""
        return bool(self.task.isasync)

    def with_options(self, **options: Any) -> Twin:
        return Twin(self.task.with_options(**options))

    def in_flow(self, *calls: dict[str, Any], failures: int = 0, **options: Any) -> State[Any]:
        """Make the calls in a flow that fails after them as often as asked; return its state."""
        attempts = itertools.count()

        def end(runs: list[Any]) -> list[Any]:
            if next(attempts) < failures:
                raise RuntimeError("the flow failed after its tasks")
            return runs

        if self.task.isasync:

            @flow(name="release", **options)
            async def release() -> list[Any]:
                return end([await self.task(**each) for each in calls])

            return asyncio.run(release(return_state=True))

        @flow(name="release", **options)
        def release() -> list[Any]:
            return end([self.task(**each) for each in calls])

        return release(return_state=True)


@pytest.fixture(params=[trigger_test_run, atrigger_test_run], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Return each of the two tasks in turn."""
    return Twin(request.param)


@pytest.fixture(params=[wait_for_test_run, await_for_test_run], ids=["sync", "async"])
def waiting(request: pytest.FixtureRequest) -> Twin:
    """Return each of the two tasks that wait in turn."""
    return Twin(request.param)


@pytest.fixture(params=[preflight, apreflight], ids=["sync", "async"])
def looking(request: pytest.FixtureRequest) -> Twin:
    """Return either task that looks before a release."""
    return Twin(request.param)


@pytest.fixture(params=[run_tests, arun_tests], ids=["sync", "async"])
def running(request: pytest.FixtureRequest) -> Twin:
    """Return each of the two tasks that trigger and wait in turn."""
    return Twin(request.param)


def _eventually(look: Callable[[], Any], seconds: float = LIMIT) -> Any:
    give_up_at = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < give_up_at, "the server did not write it in time"
        time.sleep(0.05)
    return found


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Return what can be seen once the server has written it, which it does in the background."""
    return _eventually
