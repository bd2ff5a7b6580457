"""Sending a request that starts a run until it is sure what came of it. No I/O of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError, TriggerOutcomeUnknownError
from empirical_provider.models import TestRun
from empirical_provider.searching import Pause, Search, UntoldError

__all__ = ["send_until_sure"]

log = logging.getLogger(__name__)

_MOST_SENDS = 3


def send_until_sure(
    call: Call[TestRun],
    search: Search,
    *,
    grace: float,
    unknown: Callable[[str], EmpiricalError],
) -> Generator[Call[Any] | Pause, Any, tuple[TestRun | None, list[TestRun]]]:
    """Send a request; where its answer is lost, look for its run, and send it again if none is.

    Args:
        call: The request.
        search: Finds runs that it has started.
        grace: Seconds after a request in which its run may not be listed yet.
        unknown: Makes the error for an outcome that nobody can tell, of the reason.

    Returns:
        The run as answered, and no others; or None, and the runs that were found.

    Raises:
        EmpiricalError: Nothing was started.
        TriggerOutcomeUnknownError: Nobody can tell.
    """
    for left in reversed(range(_MOST_SENDS)):
        try:
            return (yield call), []
        except TriggerOutcomeUnknownError as error:
            log.warning("%s Looking for it now.", error)
            try:
                found = yield from search.wait_for_any(grace)
            except UntoldError as why:
                raise unknown(str(why)) from error
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
