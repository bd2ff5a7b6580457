"""A user's cancel of the flow run ends the test run too, once and quickly; nothing else does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Cancelling, Crashed, Failed, Running

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    arun_tests,
    await_for_test_run,
    cancel_test_runs_on_cancellation,
    cancelling,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)
from empirical_provider.prefect.cancelling import aguarded, guarded

FROM_OUTSIDE = [TerminationSignal(15), KeyboardInterrupt(), asyncio.CancelledError()]
ERRORS = [RuntimeError("no"), TimeoutError("no")]
pytestmark = pytest.mark.slow

ENDED = {"cancelling", "cancelled"}


@pytest.fixture(autouse=True)
def _stuck(empirical: Emulator) -> None:
    """Let runs go on until they are cancelled."""
    empirical.script("staging", "stuck")


@pytest.fixture
def run_id(credentials: EmpiricalCredentials) -> int:
    """Return the id of a run that goes on."""
    return int(trigger_test_run.fn(credentials=credentials, environment="staging")["id"])


@pytest.fixture
def flow_run(server: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> FlowRun:
    """Return the flow run that the guards are in; its state is what Prefect's server says."""

    @flow
    def release() -> None:
        pass

    created = server.create_flow_run(release)
    monkeypatch.setattr(cancelling, "flow_runs_here", lambda: [created])
    return created


@pytest.fixture
def cancelled(flow_run: FlowRun, server: SyncPrefectClient) -> FlowRun:
    """Return a flow run that a user has cancelled."""
    server.set_flow_run_state(flow_run.id, Cancelling(), force=True)
    return flow_run


def _cancels(empirical: Emulator) -> list[Any]:
    return [each for each in empirical.requests if each.endpoint == "cancel_test_run"]


def _leave(signal: BaseException, *, asynchronously: bool, **guard: Any) -> None:
    """Leave the guard by a signal."""
    credentials, run_id = guard.pop("credentials"), guard.pop("run_id")

    async def leave() -> None:
        async with aguarded(credentials, run_id, **guard):
            raise signal

    if asynchronously:
        with pytest.raises(type(signal)):
            asyncio.run(leave())
    else:
        with pytest.raises(type(signal)), guarded(credentials, run_id, **guard):
            raise signal


STATES = {
    "running": Running(),
    "failed": Failed(),
    "crashed": Crashed(),
    "cancelling": Cancelling(),
    "cancelled": Cancelled(),
}
BY_A_USER = {"cancelling", "cancelled"}


@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("signal", [*FROM_OUTSIDE, *ERRORS], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("told", [*STATES, "no flow run", "away"])
def test_what_cancels_the_run(  # noqa: PLR0917  # fixtures, passed by name
    told: str,
    signal: BaseException,
    asynchronously: bool,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    run_id: int,
    flow_run: FlowRun,
    server: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes from outside cancels the run, by one request, where Prefect's server says that a
    user has cancelled the flow run; no error does, and no silence of the server."""
    if told in STATES:
        server.set_flow_run_state(flow_run.id, STATES[told], force=True)
    elif told == "no flow run":
        monkeypatch.setattr(cancelling, "flow_runs_here", list)
    else:
        monkeypatch.setattr(cancelling, "get_client", _away)

    _leave(signal, asynchronously=asynchronously, credentials=credentials, run_id=run_id)

    is_cancel = told in BY_A_USER and signal in FROM_OUTSIDE
    assert len(_cancels(empirical)) == is_cancel
    assert (empirical.runs[0].state in ENDED) == is_cancel


def _away(*_: Any, **__: Any) -> Any:
    raise ConnectionError("the server is away")


@pytest.mark.parametrize("way", ["TaskGroup", "gather", "wait_for"])
def test_an_error_of_a_sibling_leaves_healthy_runs_alone(
    way: str, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """What the flow's own code cancels is no cancel of a user: the run goes on for a retry."""

    async def fail() -> None:
        await _look(empirical)
        raise RuntimeError("the sibling has failed")

    def gate() -> Any:
        return arun_tests(credentials=credentials, environment="staging", poll_interval=0.05)

    @flow
    async def release() -> None:
        if way == "TaskGroup":
            async with asyncio.TaskGroup() as group:
                group.create_task(gate())
                group.create_task(fail())
        elif way == "gather":
            await asyncio.gather(gate(), fail())
        else:
            waiting = asyncio.ensure_future(gate())
            await _look(empirical)
            await asyncio.wait_for(waiting, 0.1)

    with pytest.raises((RuntimeError, ExceptionGroup, TimeoutError)):
        asyncio.run(release())

    assert _cancels(empirical) == []
    assert empirical.runs[0].state == "started"


async def _look(empirical: Emulator) -> None:
    while not any(  # noqa: ASYNC110  # the emulator runs in a thread
        each.endpoint == "get_test_run" for each in empirical.requests
    ):
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
def test_it_can_be_turned_off(
    asynchronously: bool, credentials: EmpiricalCredentials, empirical: Emulator, run_id: int
) -> None:
    """With cancel_on_cancellation=False the run goes on."""
    _leave(
        FROM_OUTSIDE[0],
        asynchronously=asynchronously,
        credentials=credentials,
        run_id=run_id,
        cancel=False,
    )

    assert _cancels(empirical) == []


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("fault", ["status", "delay", "drop"])
def test_a_cancel_that_fails_is_not_tried_again(
    fault: str,
    asynchronously: bool,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    run_id: int,
) -> None:
    """The signal goes on soon, whatever the service does, after one request."""
    assert cancelling._CANCEL_SECONDS < 5
    options = {"status": {"status": 503}, "delay": {"delay": 60}, "drop": {}}[fault]
    empirical.fault("cancel_test_run", fault, times=None, **options)
    began = time.monotonic()

    _leave(FROM_OUTSIDE[0], asynchronously=asynchronously, credentials=credentials, run_id=run_id)

    assert time.monotonic() - began < 30
    empirical.clear_faults()
    assert len(_cancels(empirical)) <= 1


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
def test_an_async_wait_that_is_cancelled(
    scope: str, credentials: EmpiricalCredentials, empirical: Emulator, run_id: int
) -> None:
    """Both kinds of cancellation that asyncio programs know let the request through."""

    async def wait() -> None:
        await await_for_test_run.fn(credentials=credentials, test_run_id=run_id)

    async def by_asyncio() -> None:
        task = asyncio.create_task(wait())
        await _look(empirical)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    async def by_anyio() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await _look(empirical)
            group.cancel_scope.cancel()

    asyncio.run(by_asyncio() if scope == "asyncio" else by_anyio())

    assert len(_cancels(empirical)) == 1
    assert empirical.runs[0].state in ENDED


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
def test_a_run_is_guarded_from_the_moment_it_exists(
    asynchronously: bool,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancel that comes between the start of the run and the wait for it ends the run."""

    def interrupt(*_: Any) -> None:
        raise TerminationSignal(15)

    monkeypatch.setattr("empirical_provider.trigger._tell", interrupt)
    call = {"credentials": credentials, "environment": "staging"}

    with pytest.raises(TerminationSignal):
        asyncio.run(arun_tests(**call)) if asynchronously else run_tests(**call)

    assert len(_cancels(empirical)) == 1
    assert empirical.runs[0].state in ENDED


def test_the_hook_cancels_what_the_flow_run_answers_for(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    server: SyncPrefectClient,
    api_key: str,
) -> None:
    """Several runs are found by labels; finished, unsaved and excepted ones are left alone."""
    unsaved = credentials.model_copy()
    credentials.save("hooked", overwrite=True)
    saved = EmpiricalCredentials.load("hooked")
    elsewhere = trigger_test_run.fn(credentials=saved, environment="staging")["id"]
    excepted = trigger_test_run.fn(credentials=saved, environment="staging")["id"]
    options = {"policy": {"timed_out": "pass"}, "timeout": 0.1, "poll_interval": 0.05}

    @flow
    def gated() -> list[int]:
        run = {"credentials": saved, "environment": "staging"}
        wait_for_test_run(credentials=saved, test_run_id=elsewhere, **options)
        wait_for_test_run(
            credentials=saved, test_run_id=excepted, cancel_on_cancellation=False, **options
        )
        return [
            trigger_test_run(**run)["id"],
            run_tests(**run, **options)["run_id"],
            trigger_test_run(**run)["id"],
            trigger_test_run(credentials=unsaved, environment="staging")["id"],
            run_tests(**run, **options, cancel_on_cancellation=False)["run_id"],
        ]

    state = gated(return_state=True)
    one, two, finished, _unsaved, _excepted = state.result()
    empirical.set_state(finished, "ended")
    flow_run = server.read_flow_run(state.state_details.flow_run_id)
    assert api_key not in str(flow_run.labels)
    stale = flow_run.model_copy(update={"labels": {}})

    for _ in range(2):  # the second time there is nothing left to ask for
        asyncio.run(
            cancel_test_runs_on_cancellation(flow=gated, flow_run=stale, state=Cancelling())
        )

    assert {each.id for each in empirical.runs if each.state in ENDED} == {elsewhere, one, two}
    assert len(_cancels(empirical)) == 3


def test_the_hook_goes_on_after_a_run_that_it_cannot_cancel(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    server: SyncPrefectClient,
) -> None:
    """A block that is gone and an outage leave the other runs to be cancelled."""
    for name in ("hooked-one", "hooked-two"):
        credentials.save(name, overwrite=True)

    @flow
    def gated() -> None:
        for name in ("hooked-one", "hooked-two", "hooked-two"):
            trigger_test_run(credentials=EmpiricalCredentials.load(name), environment="staging")

    state = gated(return_state=True)
    EmpiricalCredentials.delete("hooked-one")
    empirical.fault("get_test_run", "status", status=503)
    flow_run = server.read_flow_run(state.state_details.flow_run_id)

    asyncio.run(cancel_test_runs_on_cancellation(flow=gated, flow_run=flow_run, state=Cancelling()))

    assert [each.state in ENDED for each in empirical.runs].count(True) == 1
    assert empirical.runs[0].state not in ENDED
