"""The one function that every host calls to start a test run, and its async twin."""

from __future__ import annotations

import logging
from collections.abc import Callable

from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.models import TestRun, TestRunRequest

__all__ = ["atrigger_test_run", "trigger_test_run"]

log = logging.getLogger(__name__)


def trigger_test_run(
    client: EmpiricalClient,
    request: TestRunRequest,
    *,
    on_started: Callable[[TestRun], object] | None = None,
) -> TestRun:
    """Start a test run and return it, with its dashboard page if that can be had.

    It does not wait for the run to finish. The request is sent again only where it cannot have had
    an effect, so that a lost answer never makes a second run.

    Args:
        client: An open client.
        request: What to run.
        on_started: Called with the run as soon as its id is known, before its page is looked up,
            so that a host can save the id at once.

    Returns:
        The run, usually in the state ``queued``.

    Raises:
        TriggerRejectedError: The service said that it did not start the run.
        TriggerOutcomeUnknownError: The run may have been started, or not.
        EmpiricalError: Any other error of the tree: nothing was started.
    """
    run = client.trigger(request)
    if on_started is not None:
        on_started(run)
    run = client.find_url(run)
    _tell(run)
    return run


async def atrigger_test_run(
    client: AsyncEmpiricalClient,
    request: TestRunRequest,
    *,
    on_started: Callable[[TestRun], object] | None = None,
) -> TestRun:
    """Do what `trigger_test_run` does, with an async client."""
    run = await client.trigger(request)
    if on_started is not None:
        on_started(run)
    run = await client.find_url(run)
    _tell(run)
    return run


def _tell(run: TestRun) -> None:
    log.info("Test run %s is %s: %s", run.id, run.state, run.url or "(page not known)")
