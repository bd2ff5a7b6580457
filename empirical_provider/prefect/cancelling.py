"""A user cancels a flow run: the test runs it waits for are cancelled with it.

Two ways lead there. Where a wait runs in the thread that Prefect interrupts, the guard around it
sees the interruption. A wait that was submitted runs in a thread that sees nothing: there the
flow's hook finds the runs by the labels of the flow run.

An interruption alone is no cancel: the process may be on a node that is drained, a sibling in a
task group may have failed, a time-out may be up. Only the state of the flow run on Prefect's server
says that a user has cancelled it. Otherwise the runs are left alone, for a retry of the flow run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prefect import get_client
from prefect.blocks.core import Block
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.logging.loggers import flow_run_logger

from empirical_provider.exceptions import AlreadyFinishedError, EmpiricalError
from empirical_provider.prefect.arguments import acredentials_of, run_id_of
from empirical_provider.prefect.calls import flow_runs_here
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.showing import RUN

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

    from empirical_provider.models import TestRun
    from empirical_provider.prefect.showing import Logger

__all__ = ["aguarded", "cancel_test_runs_on_cancellation", "guarded", "started"]

_CANCEL_SECONDS = 3.0
"""Seconds that cancelling a run may take: a process that was told to end is killed soon."""

_ASK_SECONDS = 2.0
"""Seconds that Prefect's server has to say whether a user has cancelled the flow run."""

_REASON = "The Prefect flow run that waited for it was cancelled."

_guarded: ContextVar[list[int] | None] = ContextVar("empirical_guarded_runs", default=None)
"""The runs that the guard around this call answers for."""


def started(run: TestRun) -> None:
    """Put a run under the guard around this call, if there is one, as soon as its id is known."""
    runs = _guarded.get()
    if runs is not None:
        runs.append(run.id)


# What is not an `Exception` comes from outside: Prefect's signal that the process is to end, an
# asyncio task that was cancelled, Ctrl-C. Only then the server is asked: an error never cancels.


@contextmanager
def guarded(
    credentials: EmpiricalCredentials, *run_ids: int, cancel: bool = True
) -> Iterator[list[int]]:
    """Cancel the runs, and those that are started inside, if a user cancels the flow run meanwhile.

    Any other end of the block leaves them alone, for a retry of the flow run.
    """
    runs = list(run_ids)
    token = _guarded.set(runs)
    try:
        yield runs
    except BaseException as signal:
        if cancel and runs and not isinstance(signal, (Exception, GeneratorExit)):
            cancelled = _is_cancelled()
            for run_id in runs:
                (_cancel if cancelled else _leave)(credentials, run_id, credentials.logger)
        raise
    finally:
        _guarded.reset(token)


@asynccontextmanager
async def aguarded(
    credentials: EmpiricalCredentials, *run_ids: int, cancel: bool = True
) -> AsyncIterator[list[int]]:
    """Do what `guarded` does, in an async task."""
    import anyio

    runs = list(run_ids)
    token = _guarded.set(runs)
    try:
        yield runs
    except BaseException as signal:
        if cancel and runs and not isinstance(signal, (Exception, GeneratorExit)):
            # Shielded: a cancelled task could not await the requests.
            cancelled = False
            with anyio.move_on_after(_ASK_SECONDS, shield=True):
                cancelled = await _ais_cancelled()
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                for run_id in runs:
                    await (_acancel if cancelled else _aleave)(
                        credentials, run_id, credentials.logger
                    )
        raise
    finally:
        _guarded.reset(token)


def _is_cancelled() -> bool:
    """Return whether Prefect's server says that a user has cancelled the flow run.

    A cancel is told to the server first, and then to the process, by a SIGTERM like any other.
    Where the server does not respond, or there is no flow run, nobody has said that it is one.
    """
    here = flow_runs_here()
    if not here:
        return False
    try:
        with _asking(), get_client({"timeout": _ASK_SECONDS}, sync_client=True) as api:
            return _one_is_cancelled(api.read_flow_runs(flow_run_filter=_of(here)))
    except Exception:  # noqa: BLE001  # whatever it is, the server did not say it
        return False


async def _ais_cancelled() -> bool:
    here = flow_runs_here()
    if not here:
        return False
    try:
        with _asking():
            async with get_client(httpx_settings={"timeout": _ASK_SECONDS}) as api:
                return _one_is_cancelled(await api.read_flow_runs(flow_run_filter=_of(here)))
    except Exception:  # noqa: BLE001  # whatever it is, the server did not say it
        return False


@contextmanager
def _asking() -> Iterator[None]:
    """Ask once: Prefect's own retries would take longer than the process may have."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def _of(flow_runs: list[FlowRun]) -> FlowRunFilter:
    """Return a filter for flow runs: of a subflow, a user cancels the outermost."""
    return FlowRunFilter(id=FlowRunFilterId(any_=[each.id for each in flow_runs]))


def _one_is_cancelled(found: list[FlowRun]) -> bool:
    ended = {StateType.CANCELLING, StateType.CANCELLED}
    return any(each.state and each.state.type in ended for each in found)


def _leave(credentials: EmpiricalCredentials, run_id: int, log: Logger) -> None:
    url = None
    with (
        suppress(EmpiricalError),
        credentials.get_client(timeout=_CANCEL_SECONDS, retry_for=0) as client,
    ):
        url = client.find_url(client.get_test_run(run_id)).url
    _tell_left(run_id, url, log)


async def _aleave(credentials: EmpiricalCredentials, run_id: int, log: Logger) -> None:
    url = None
    try:
        with suppress(EmpiricalError):
            async with credentials.get_async_client(timeout=_CANCEL_SECONDS, retry_for=0) as client:
                url = (await client.find_url(await client.get_test_run(run_id))).url
    finally:  # also where the time is up
        _tell_left(run_id, url, log)


def _tell_left(run_id: int, url: str | None, log: Logger) -> None:
    log.warning(
        "Empirical test run %s goes on: the wait was interrupted, and Prefect's server does not "
        "say that a user has cancelled the flow run. A retry of the flow run goes on with it: %s",
        run_id,
        url or "(its page is not known)",
    )


def _cancel(credentials: EmpiricalCredentials, run_id: int, log: Logger) -> None:
    with (
        _telling(run_id, log),
        credentials.get_client(timeout=_CANCEL_SECONDS, retry_for=0) as client,
    ):
        client.cancel_test_run(run_id, reason=_REASON)


async def _acancel(credentials: EmpiricalCredentials, run_id: int, log: Logger) -> None:
    with _telling(run_id, log):
        async with credentials.get_async_client(timeout=_CANCEL_SECONDS, retry_for=0) as client:
            await client.cancel_test_run(run_id, reason=_REASON)


@contextmanager
def _telling(run_id: int, log: Logger) -> Iterator[None]:
    """Log what became of a cancel; nothing of it may hide why it was asked for."""
    try:
        yield
    except AlreadyFinishedError:
        log.info("Empirical test run %s had finished already.", run_id)
    except EmpiricalError as error:
        log.warning("Empirical test run %s could not be cancelled: %s", run_id, error)
    else:
        log.info("Empirical test run %s is being cancelled.", run_id)


async def cancel_test_runs_on_cancellation(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> None:
    """Cancel the test runs that a cancelled flow run has started or waits for.

    A hook for flows that submit their tasks: ``@flow(on_cancellation=[...])``. Directly called
    waits cancel their run without it. It needs credentials that are a saved block
    (`EmpiricalCredentials.load`); runs of other credentials, runs that have finished, runs that
    were started with a ``key``, and runs waited for with ``cancel_on_cancellation=False`` are left
    alone. A separate wait does not know of the key with which its run was started: for such a run,
    give `wait_for_test_run` ``cancel_on_cancellation=False``. Runs of a subflow are found by a hook
    of that subflow only.

    Args:
        flow: The flow.
        flow_run: Its run, as the hook's caller knows it.
        state: The state that the flow run has entered.
    """
    del state  # Prefect calls it by these names, and only for a cancellation
    log = flow_run_logger(flow_run, flow)
    async with get_client() as api:
        # The one at hand is as old as the flow run's start: the labels came later.
        labels = (await api.read_flow_run(flow_run.id)).labels
    for name, block in labels.items():
        if not name.startswith(RUN):
            continue
        run_id = name.removeprefix(RUN)
        if not block:
            log.info(
                "Empirical test run %s is left alone: it has no saved block, or is to go on.",
                run_id,
            )
            continue
        try:
            kind = Block if "/" in str(block) else EmpiricalCredentials
            credentials = await kind.aload(str(block))
            await _acancel_unfinished(await acredentials_of(credentials), run_id_of(run_id), log)
        except Exception as error:  # noqa: BLE001  # the other runs must be cancelled too
            log.warning("Empirical test run %s could not be cancelled: %s", run_id, error)


async def _acancel_unfinished(credentials: EmpiricalCredentials, run_id: int, log: Logger) -> None:
    """Cancel a run, unless that has been asked for: the guard may have been faster."""
    async with credentials.get_async_client(timeout=_CANCEL_SECONDS, retry_for=0) as client:
        run = await client.get_test_run(run_id)
    if not run.state.is_terminal and run.state != "cancelling":
        await _acancel(credentials, run_id, log)
