"""Sending a request that starts a run until it is sure what came of it. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import (
    EmpiricalError,
    TriggerOutcomeUnknownError,
    UnreadableAnswerError,
)
from empirical_provider.logs import CallLog
from empirical_provider.models import TestRun
from empirical_provider.searching import Clocks, LimitedCall, Pause, Search, UntoldError

__all__ = ["send_once", "send_until_sure"]

log = CallLog.of(__name__)

_MOST_SENDS = 3

_SLACK = 60.0
"""Seconds by which the date of a run may be behind that of the service's answers."""

_DAY = 86_400.0


def send_once(
    call: Call[TestRun], clocks: Clocks, doubt: Callable[[TestRun], str | None]
) -> Generator[Call[Any], Any, TestRun]:
    """Send a request, and return the run that it has started.

    Args:
        call: The request.
        clocks: See `Clocks`.
        doubt: Says why a run cannot be the one that was started just now; None: it may be.

    Raises:
        EmpiricalError: Nothing was started.
        TriggerOutcomeUnknownError: It is not known.
    """
    began = clocks.running()
    run: TestRun = yield call
    why = doubt(run) or (yield from _why_too_old(run, clocks, began))
    if why is None:
        return run
    what = (
        f"Could not {call.asked}: the response names test run {run.id}, which {why}. Check that no "
        f"proxy answers in the service's place."
    )
    unknown = TriggerOutcomeUnknownError(
        f"{what} It is not known whether a test run was started: look for it in the dashboard "
        f"before you start another one."
    )
    raise unknown from UnreadableAnswerError(what, run_id=run.id)


def _why_too_old(
    run: TestRun, clocks: Clocks, began: float
) -> Generator[Call[Any], Any, str | None]:
    """Say why a run is older than the request, if it is.

    What its own response says was held against the date of that before, which is as old where the
    response is replayed. So where the run is old by our clock, or our clock and that date disagree,
    the service is asked for the time.
    """
    if run.created is None:
        return None
    created, dated, now = run.created.timestamp(), clocks.service(), clocks.wall()
    agree = dated is None or abs(dated - now) <= _SLACK
    if agree and created >= now - (clocks.running() - began) - _SLACK:
        return None
    try:
        yield endpoints.list_test_runs(1, per_page=1)
    except EmpiricalError:
        return f"was created at {run.created_at}, and the service does not tell the time"
    dated = clocks.service()
    told = clocks.wall() - _DAY if dated is None else dated - (clocks.running() - began) - _SLACK
    return f"was created at {run.created_at}" if created < told else None


def send_until_sure(
    call: Call[TestRun],
    search: Search,
    *,
    doubt: Callable[[TestRun], str | None],
    grace: float,
    shared: bool,
    unknown: Callable[[UntoldError], EmpiricalError],
) -> Generator[Call[Any] | LimitedCall | Pause, Any, tuple[TestRun | None, list[TestRun]]]:
    """Send a request; where its answer is lost, look for its run, and send it again if none is.

    Args:
        call: The request.
        search: Finds runs that it has started.
        doubt: As for `send_once`.
        grace: Seconds after a request in which its run may not be listed yet.
        shared: Whether others may start runs that the search finds, too.
        unknown: Makes the error for an outcome that nobody can tell, of the reason.

    Returns:
        The run as answered, and no others; or None, and the runs that were found.

    Raises:
        EmpiricalError: Nothing was started.
        TriggerOutcomeUnknownError: Nobody can tell.
    """
    for left in reversed(range(_MOST_SENDS)):
        try:
            return (yield from send_once(call, search.clocks, doubt)), []
        except TriggerOutcomeUnknownError as error:
            log.warning("%s Looking for it now.", error)
            try:
                found = yield from search.wait_for_any(grace, for_all=shared)
            except UntoldError as why:
                raise unknown(why) from error
            if found:
                return None, found
            log.warning("No test run was started: none came up within %.0f s.", grace)
            if not left:
                raise _cause(error) from None
    raise AssertionError


def _cause(error: EmpiricalError) -> EmpiricalError:
    """Return what went wrong, now that it is certain that nothing came of it."""
    cause = error.__cause__
    return cause if isinstance(cause, EmpiricalError) else error
