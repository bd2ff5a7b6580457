"""What the verdict on a finished run needs beside its own page, read with the run or not at all.

* The commit that was tested: a passed verdict on another than the released one says nothing. The
  documentation shows a run's commit in lists; whether the page of a run has it is not known. So
  where that leaves it out, the list is asked.
* The run that is said to have taken its place: the same number is on runs that were repeated later.

What could not be read is a failed poll, an `EmpiricalError` like that of the run's own page: it is
repeated until the deadline. Only a run that was read and reports no commit goes uncompared.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from empirical_provider import endpoints
from empirical_provider.driving import adrive, drive
from empirical_provider.endpoints import Call, Sighting
from empirical_provider.exceptions import (
    EmpiricalError,
    InvalidRequestError,
    UnreadableAnswerError,
)
from empirical_provider.models import TestRun, TestRunState

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

__all__ = ["afind_commit", "find_commit", "steps_to_complete"]

log = logging.getLogger(__name__)

_MOST_PAGES = 100
"""Pages of 100 runs that are read for one run: it has just finished, or the filter finds it."""

_NO_ACCESS = (403, 404)
"""Statuses of a run that this API key cannot read, now or later."""


def find_commit(
    client: EmpiricalClient, run: TestRun, expected: str | None, *, retry_for: float | None = 0
) -> TestRun:
    """Return a run with all that its verdict needs; one that has not finished needs nothing.

    Args:
        client: An open client.
        run: The run as its own page shows it.
        expected: The commit that must have been tested; None: any.
        retry_for: As for the client's methods; default 0: the next poll asks again.

    Raises:
        EmpiricalError: It could not be read: the poll has failed.
    """
    send = partial(client._send, retry_for=retry_for)  # noqa: SLF001  # of the package
    return drive(steps_to_complete(run, expected), send)


async def afind_commit(
    client: AsyncEmpiricalClient, run: TestRun, expected: str | None, *, retry_for: float | None = 0
) -> TestRun:
    """Do what `find_commit` does, with an async client."""
    send = partial(client._send, retry_for=retry_for)  # noqa: SLF001  # of the package
    return await adrive(steps_to_complete(run, expected), send)


def steps_to_complete(run: TestRun, expected: str | None) -> Generator[Call[Any], Any, TestRun]:
    """Return the requests that `find_commit` makes, and what comes of them."""
    if run.state == TestRunState.CANCELLED:
        return (yield from _with_successor(run))
    if expected is None or run.state != TestRunState.ENDED or _has_commit(run):
        return run
    listed = yield from _in_list(run.id)
    if _has_commit(listed):
        return replace(run, commit=listed.commit)
    if "commit" in run.invalid | listed.invalid:
        raise UnreadableAnswerError(
            f"Could not read the commit that test run {run.id} has tested: it is not a string.",
            run_id=run.id,
            run_url=run.url,
        )
    log.warning("The service does not report which commit test run %s has tested.", run.id)
    return run


def _has_commit(run: TestRun) -> bool:
    return bool((run.commit or "").strip())


def _in_list(run_id: int) -> Generator[Call[Any], Any, TestRun]:
    """Find a run in the list: by the filter for its id, else down to its own place."""
    page: Sighting | None = None
    with suppress(InvalidRequestError):  # an older service does not know the filter
        page = yield endpoints.look_at_runs(1, {run_id}, only=run_id)
    if page is None or not page.oldest:
        page = yield endpoints.look_at_runs(1, {run_id})
    number = 1  # a service that ignores the filter has shown the first page of all runs
    while run_id not in page.runs:
        is_past = page.newest_first and page.oldest < run_id
        if is_past or not page.more or number == _MOST_PAGES:
            raise UnreadableAnswerError(
                f"Could not find test run {run_id} in the list of test runs, which may show its "
                f"commit ({number} pages were read).",
                run_id=run_id,
            )
        number += 1
        page = yield endpoints.look_at_runs(number, {run_id})
    return page.runs[run_id]


def _with_successor(run: TestRun) -> Generator[Call[Any], Any, TestRun]:
    """Find out whether a cancelled run was superseded, where it names another run."""
    named = run.superseded_by_test_run_id
    if run.is_superseded or named is None or named <= run.id:
        return run
    try:
        other: TestRun = yield endpoints.get_test_run(named)
    except EmpiricalError as error:
        if error.status in _NO_ACCESS:
            return run
        found = error.run if isinstance(error, UnreadableAnswerError) else None
        if found is None:
            raise
        other = found
    return replace(run, is_superseded=_takes_its_place(other, run))


def _takes_its_place(other: TestRun, run: TestRun) -> bool:
    """Say whether a run with a higher id is newer, and repeats neither the run nor a later one."""
    source = other.rerun_source_id
    is_rerun = "rerun_source_id" in other.invalid or (source is not None and source >= run.id)
    is_older = bool(other.created and run.created and other.created < run.created)
    return not is_rerun and not is_older
