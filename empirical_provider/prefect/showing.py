"""What a person and an automation see of a test run in Prefect: artifacts, labels and events.

All of it is shown where there is a task run to show it at, and none of it is worth failing for, or
keeping a wait from its first poll.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import NAMESPACE_URL, uuid4, uuid5

from prefect import get_client
from prefect.context import TaskRunContext

from empirical_provider.prefect.report import markdown, plain, progress

if TYPE_CHECKING:
    from uuid import UUID

    from empirical_provider.models import TestRun
    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.verdict import Verdict

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = [
    "RUN",
    "Progress",
    "alabel_flow_run",
    "ameanwhile",
    "ashow_run",
    "ashow_verdict",
    "label_flow_run",
    "meanwhile",
    "show_run",
    "show_verdict",
]

_LAST_RUN = "empirical.test_run_id"
"""Label of a flow run: id of the run that it started last."""

RUN = "empirical.test_run."
"""Start of a label of a flow run, one for each of its test runs, that ends with the run's id.

Its value is the name of the saved block with which the hook can cancel the run; that of a subclass
follows its slug and a slash. Where it is empty the hook leaves the run alone. A key is never in a
label.
"""

_labelling = threading.Lock()

_TURN = 10.0
"""Seconds to wait for a turn to label a flow run."""

_PROGRESS = "empirical-progress"
"""Key of the progress artifacts."""


@contextmanager
def meanwhile(show: Callable[[], object]) -> Iterator[None]:
    """Show something while the block runs, in a thread: Prefect's server may take its time.

    The block ends once it is shown, except where it is interrupted.
    """
    thread = threading.Thread(target=copy_context().run, args=(show,), daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        thread.join()
        raise
    thread.join()


@asynccontextmanager
async def ameanwhile(show: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Do what `meanwhile` does, in an asyncio task."""
    showing = asyncio.create_task(show())
    try:
        yield
    except Exception:
        await showing
        raise
    except BaseException:
        showing.cancel()
        raise
    await showing


def show_run(credentials: EmpiricalCredentials, run: TestRun, *, cancel: bool = True) -> None:
    """Show a run that was started, or taken over: by labels, by a link and by an event."""
    from prefect.artifacts import create_link_artifact

    log = credentials.logger
    label_flow_run(credentials, run.id, {_LAST_RUN: run.id}, cancel=cancel)
    if TaskRunContext.get() and run.url:
        with _best_effort(log, run.id, "link it by an artifact"):
            create_link_artifact(**_link(run))
    _emit_start(credentials, run)


async def ashow_run(
    credentials: EmpiricalCredentials, run: TestRun, *, cancel: bool = True
) -> None:
    """Do what `show_run` does."""
    from prefect.artifacts import acreate_link_artifact

    log = credentials.logger
    await alabel_flow_run(credentials, run.id, {_LAST_RUN: run.id}, cancel=cancel)
    if TaskRunContext.get() and run.url:
        with _best_effort(log, run.id, "link it by an artifact"):
            await acreate_link_artifact(**_link(run))
    _emit_start(credentials, run)


def show_verdict(credentials: EmpiricalCredentials, verdict: Verdict) -> None:
    """Show what became of a run: in the log, by a page to read and by an event."""
    from prefect.artifacts import create_markdown_artifact

    log = _tell_verdict(credentials, verdict)
    if TaskRunContext.get():
        with _best_effort(log, verdict.run_id, "show the verdict by an artifact"):
            create_markdown_artifact(**_page(verdict))
    _emit_verdict(log, verdict)


async def ashow_verdict(credentials: EmpiricalCredentials, verdict: Verdict) -> None:
    """Do what `show_verdict` does."""
    from prefect.artifacts import acreate_markdown_artifact

    log = _tell_verdict(credentials, verdict)
    if TaskRunContext.get():
        with _best_effort(log, verdict.run_id, "show the verdict by an artifact"):
            await acreate_markdown_artifact(**_page(verdict))
    _emit_verdict(log, verdict)


class Progress:
    """The progress artifact of one wait: made at the first look, updated when the state changes.

    A look only notes what is new, by `saw`. It is shown before the pause that follows, so that the
    async form can await that, and once more when the wait is over.
    """

    def __init__(self, credentials: EmpiricalCredentials) -> None:
        self._log = credentials.logger
        self._artifact: UUID | None = None
        self._percent = 0.0
        self._new: TestRun | None = None

    def saw(self, run: TestRun) -> None:
        """Note a run whose state has changed."""
        self._new = run if TaskRunContext.get() else None

    def show(self) -> None:
        """Show what is new, if anything is."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._new is not None:
            with self._trying(self._new) as shown:
                if self._artifact is None:
                    made = create_progress_artifact(key=_PROGRESS, **shown)
                    self._artifact = cast("UUID", made)  # in a sync task it is no coroutine
                else:
                    update_progress_artifact(self._artifact, **shown)

    async def ashow(self) -> None:
        """Do what `show` does."""
        from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

        if self._new is not None:
            with self._trying(self._new) as shown:
                if self._artifact is None:
                    self._artifact = await acreate_progress_artifact(key=_PROGRESS, **shown)
                else:
                    await aupdate_progress_artifact(self._artifact, **shown)

    def pause(self, seconds: float) -> None:
        """Show what is new, and sleep for what is left of the seconds."""
        end = time.monotonic() + seconds
        self.show()
        time.sleep(max(0.0, end - time.monotonic()))

    async def apause(self, seconds: float, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Do what `pause` does, by a sleep that is given."""
        end = time.monotonic() + seconds
        await self.ashow()
        await sleep(max(0.0, end - time.monotonic()))

    @contextmanager
    def _trying(self, run: TestRun) -> Iterator[dict[str, Any]]:
        """Try once: Prefect's own retries would hold the next look up, for a minute or more."""
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        percent, description = progress(run, self._percent)
        with (
            _best_effort(self._log, run.id, "show its progress by an artifact"),
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        ):
            yield {"progress": percent, "description": description}
            self._percent, self._new = percent, None


def label_flow_run(
    credentials: EmpiricalCredentials,
    run_id: int,
    more: dict[str, Any] | None = None,
    *,
    cancel: bool = True,
) -> None:
    """Label the flow run, if there is one, so that the hook for cancellations finds the run."""
    flow_run_id = _flow_run_id()
    if flow_run_id:
        with (
            _best_effort(credentials.logger, run_id, "label the flow run"),
            get_client(sync_client=True) as api,
            _one_at_a_time(),
        ):
            api.update_flow_run_labels(flow_run_id, _labels(credentials, run_id, more, cancel))


async def alabel_flow_run(
    credentials: EmpiricalCredentials,
    run_id: int,
    more: dict[str, Any] | None = None,
    *,
    cancel: bool = True,
) -> None:
    """Do what `label_flow_run` does.

    In a thread: one that waits for its turn must not hold the event loop up, and one that has it
    must not need the loop, which a sync task in the same flow may hold up.
    """
    from anyio import to_thread

    if _flow_run_id():
        label = partial(label_flow_run, credentials, run_id, more, cancel=cancel)
        await to_thread.run_sync(label, abandon_on_cancel=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let the tasks of this process label one after the other.

    The server reads the labels, adds to them and writes them back: of two that come at the same
    moment, one may be lost. While it does not answer, nobody waits for their turn for long.
    """
    held = _labelling.acquire(timeout=_TURN)
    try:
        yield
    finally:
        if held:
            _labelling.release()


def _flow_run_id() -> UUID | None:
    context = TaskRunContext.get()
    return context.task_run.flow_run_id if context else None


def _labels(
    credentials: EmpiricalCredentials, run_id: int, more: dict[str, Any] | None, cancel: bool
) -> dict[str, Any]:
    block = credentials.saved_reference if cancel else None
    return {**(more or {}), f"{RUN}{run_id}": block or ""}


def _link(run: TestRun) -> dict[str, Any]:
    return {
        "key": "empirical-test-run",
        "link": run.url,
        "link_text": f"Empirical test run {run.id}",
        "description": f"Test run in the environment {plain(run.environment or '?')}.",
    }


def _page(verdict: Verdict) -> dict[str, Any]:
    return {"key": "empirical-verdict", "markdown": markdown(verdict)}


def _tell_verdict(credentials: EmpiricalCredentials, verdict: Verdict) -> Logger:
    log = credentials.logger
    log.info("%s The gate says %s.", verdict.summary, verdict.decision)
    return log


# Prefect's server takes an event once, by its id: attempts repeat what they may have told before.


def _emit_start(credentials: EmpiricalCredentials, run: TestRun) -> None:
    """Emit the event that a run was started, which counts once, whoever takes the run over."""
    payload = {**run.as_dict(), "environment": run.environment}
    once = (credentials.base_url, credentials.project_id, run.id, run.created_at)
    _emit(credentials.logger, run.id, "triggered", payload, once)


def _emit_verdict(log: Logger, verdict: Verdict) -> None:
    """Emit the event that a run has finished, which counts once for each flow run that waited."""
    if verdict.outcome != "timed_out":  # then the run goes on
        flow_run_id = _flow_run_id() or uuid4()
        once = (flow_run_id, verdict.run_id, verdict.outcome, verdict.decision)
        _emit(log, verdict.run_id, "finished", dict(verdict.as_dict()), once)


def _emit(
    log: Logger, run_id: int, what: str, payload: dict[str, Any], once: tuple[object, ...]
) -> None:
    from prefect.events import emit_event

    if not TaskRunContext.get():
        return
    resource = {
        "prefect.resource.id": f"empirical.test-run.{run_id}",
        "prefect.resource.name": f"Empirical test run {run_id}",
    }
    with _best_effort(log, run_id, f"emit the event that it is {what}"):
        event_id = uuid5(NAMESPACE_URL, " ".join(map(str, (what, *once))))
        event = f"empirical.test-run.{what}"
        emit_event(event, resource=resource, payload=payload, id=event_id)


@contextmanager
def _best_effort(log: Logger, run_id: int, what: str) -> Iterator[None]:
    """Go on without it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the run is what matters
        log.warning("Empirical test run %s: could not %s: %r", run_id, what, error)
