"""What a person and an automation see of a test run in Prefect: artifacts, labels and events.

All of it is shown where there is a task run to show it at, and none of it is worth failing for: a
task that failed over an artifact would be retried, and start a second run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect import get_client
from prefect.context import TaskRunContext

from empirical_provider.prefect.report import markdown

if TYPE_CHECKING:
    from uuid import UUID

    from empirical_provider.models import TestRun
    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.verdict import Verdict

    Logger = logging.Logger | logging.LoggerAdapter[Any]

__all__ = [
    "RUN",
    "alabel_flow_run",
    "ashow_run",
    "ashow_verdict",
    "label_flow_run",
    "show_run",
    "show_verdict",
]

_LAST_RUN = "empirical.test_run_id"
"""Label of a flow run: id of the run that it started last."""

RUN = "empirical.test_run."
"""Start of a label of a flow run, one for each of its test runs, that ends with the run's id.

Its value is the name of the saved block with which the hook can cancel the run. Where it is empty
the hook leaves the run alone. A key is never in a label.
"""


def show_run(credentials: EmpiricalCredentials, run: TestRun) -> None:
    """Show a run that was started: by labels of the flow run, by a link and by an event."""
    from prefect.artifacts import create_link_artifact

    log = credentials.logger
    label_flow_run(credentials, run.id, {_LAST_RUN: run.id})
    if TaskRunContext.get() and run.url:
        with _best_effort(log, run.id, "link it by an artifact"):
            create_link_artifact(**_link(run))
    _emit(log, run.id, "triggered", {**run.as_dict(), "environment": run.environment})


async def ashow_run(credentials: EmpiricalCredentials, run: TestRun) -> None:
    """Do what `show_run` does."""
    from prefect.artifacts import acreate_link_artifact

    log = credentials.logger
    await alabel_flow_run(credentials, run.id, {_LAST_RUN: run.id})
    if TaskRunContext.get() and run.url:
        with _best_effort(log, run.id, "link it by an artifact"):
            await acreate_link_artifact(**_link(run))
    _emit(log, run.id, "triggered", {**run.as_dict(), "environment": run.environment})


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
        ):
            api.update_flow_run_labels(flow_run_id, _labels(credentials, run_id, more, cancel))


async def alabel_flow_run(
    credentials: EmpiricalCredentials,
    run_id: int,
    more: dict[str, Any] | None = None,
    *,
    cancel: bool = True,
) -> None:
    """Do what `label_flow_run` does."""
    flow_run_id = _flow_run_id()
    if flow_run_id:
        with _best_effort(credentials.logger, run_id, "label the flow run"):
            async with get_client() as api:
                labels = _labels(credentials, run_id, more, cancel)
                await api.update_flow_run_labels(flow_run_id, labels)


def _flow_run_id() -> UUID | None:
    context = TaskRunContext.get()
    return context.task_run.flow_run_id if context else None


def _labels(
    credentials: EmpiricalCredentials, run_id: int, more: dict[str, Any] | None, cancel: bool
) -> dict[str, Any]:
    block = credentials.saved_name if cancel else None
    return {**(more or {}), f"{RUN}{run_id}": block or ""}


def _link(run: TestRun) -> dict[str, Any]:
    return {
        "key": "empirical-test-run",
        "link": run.url,
        "link_text": f"Empirical test run {run.id}",
        "description": f"Test run in the environment {run.environment}.",
    }


def _page(verdict: Verdict) -> dict[str, Any]:
    return {"key": "empirical-verdict", "markdown": markdown(verdict)}


def _tell_verdict(credentials: EmpiricalCredentials, verdict: Verdict) -> Logger:
    log = credentials.logger
    log.info("%s The gate says %s.", verdict.summary, verdict.decision)
    return log


def _emit_verdict(log: Logger, verdict: Verdict) -> None:
    if verdict.outcome != "timed_out":  # then the run goes on
        _emit(log, verdict.run_id, "finished", verdict.as_dict())


def _emit(log: Logger, run_id: int, what: str, payload: dict[str, Any]) -> None:
    from prefect.events import emit_event

    if not TaskRunContext.get():
        return
    resource = {
        "prefect.resource.id": f"empirical.test-run.{run_id}",
        "prefect.resource.name": f"Empirical test run {run_id}",
    }
    with _best_effort(log, run_id, f"emit the event that it is {what}"):
        emit_event(f"empirical.test-run.{what}", resource=resource, payload=payload)


@contextmanager
def _best_effort(log: Logger, run_id: int, what: str) -> Iterator[None]:
    """Go on without it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the run is what matters
        log.warning("Empirical test run %s: could not %s: %r", run_id, what, error)
