"""A person's cancel ends the test run too, once and quickly; nothing else does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelling

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


@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("signal", [*FROM_OUTSIDE, *ERRORS], ids=lambda each: type(each).__name__)
def test_what_cancels_the_run(
    signal: BaseException,
    asynchronously: bool,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    run_id: int,
) -> None:
    """What comes from outside cancels the run by one request and goes on; an error does not."""
    _leave(signal, asynchronously=asynchronously, credentials=credentials, run_id=run_id)

    assert len(_cancels(empirical)) == (signal in FROM_OUTSIDE)
    assert (empirical.runs[0].state in ENDED) == (signal in FROM_OUTSIDE)


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


@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
def test_an_async_wait_that_is_cancelled(
    scope: str, credentials: EmpiricalCredentials, empirical: Emulator, run_id: int
) -> None:
    """Both kinds of cancellation that asyncio programs know let the request through."""

    async def wait() -> None:
        await await_for_test_run.fn(credentials=credentials, test_run_id=run_id)

    async def look() -> None:
        while not any(  # noqa: ASYNC110  # the local Empirical runs in a thread
            each.endpoint == "get_test_run" for each in empirical.requests
        ):
            await asyncio.sleep(0.01)

    async def by_asyncio() -> None:
        task = asyncio.create_task(wait())
        await look()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    async def by_anyio() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await look()
            group.cancel_scope.cancel()

    asyncio.run(by_asyncio() if scope == "asyncio" else by_anyio())

    assert len(_cancels(empirical)) == 1
    assert empirical.runs[0].state in ENDED


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

    monkeypatch.setattr("empirical_provider.prefect.starting._tell_url", interrupt)
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
