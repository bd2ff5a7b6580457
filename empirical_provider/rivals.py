"""Which of several runs under one key is the one. No I/O of its own: see `searching`.

The rule: of those that may have a verdict the one with the lowest id. Whoever has started it, or
takes it over, cancels the others; whoever gives way cancels its own.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import AlreadyFinishedError, EmpiricalError, NotFoundError
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.searching import Pause, Search, UntoldError
from empirical_provider.trigger_key import TriggerKey

__all__ = ["at_rest", "cancel_others", "seen_beside", "winner_of"]

log = logging.getLogger(__name__)

_PAUSE = 2.0
_LOOK_AGAIN = 1.0


def winner_of(runs: Iterable[TestRun]) -> tuple[TestRun, TriggerKey, list[TestRun]]:
    """Return the one run of several that all show a key, its key, and its rivals.

    Where none may have a verdict, it is the one with the highest n: the next one gets the next.
    """
    keyed = [(run, key) for run in runs if (key := TriggerKey.parse(run.trigger_key)) is not None]
    (winner, key), *rivals = sorted(
        keyed,
        key=lambda each: (
            1_000 - each[1].n if each[0].state.is_without_verdict else 0,
            each[0].id,
        ),
    )
    return winner, key, [run for run, _ in rivals]


def seen_beside(
    own: TestRun, search: Search, grace: float
) -> Generator[Call[Any] | Pause, Any, list[TestRun]]:
    """Return the others that match, once lists show our own run.

    Ids grow, and a list that shows our run shows those before it: so everybody who has started one
    sees the same lowest id.
    """
    waited = 0.0
    while True:
        try:
            found = yield from search.look()
        except UntoldError as why:
            log.warning("Nobody can tell whether test run %s is the only one: %s", own.id, why)
            return []
        if own.id in search.listed or waited >= grace:
            return [run for run in found if run.id != own.id]
        yield Pause(_LOOK_AGAIN)
        waited += _LOOK_AGAIN


def cancel_others(
    rivals: Iterable[TestRun], winner: int, *, started_here: int | None = None
) -> Generator[Call[Any], Any, None]:
    """Cancel the runs that are too many, as far as they go on.

    A re-run may show the key of the run that it repeats: what may be one is left alone, unless it
    was started here.
    """
    reason = f"Test run {winner} was started for the same, and before it."
    for rival in rivals:
        run = rival
        try:
            if run.id != started_here and _goes_on(run):
                run = yield endpoints.get_test_run(run.id)  # a list shows less, and is older
            if not _goes_on(run):
                continue
            if run.id != started_here and "rerun_source_id" not in run.shown:
                log.warning("Test run %s is left alone: it may be a re-run.", run.id)
                continue
            yield endpoints.cancel_test_run(run.id, reason=reason)
            log.info("Test run %s is being cancelled: %s", run.id, reason)
        except AlreadyFinishedError:
            log.info("Test run %s has finished already.", run.id)
        except EmpiricalError as error:
            log.warning("Test run %s could not be cancelled: %s", run.id, error)


def _goes_on(run: TestRun) -> bool:
    return not run.state.is_terminal and run.state != TestRunState.CANCELLING


def at_rest(run_id: int, grace: float) -> Generator[Call[Any] | Pause, Any, TestRun | None]:
    """Read a run, once it is not being cancelled any more; None if it is gone.

    Args:
        run_id: Database id of the run.
        grace: Seconds to wait for a run that is being cancelled.
    """
    waited = 0.0
    while True:
        try:
            run: TestRun = yield endpoints.get_test_run(run_id)
        except NotFoundError:
            return None
        if run.state != TestRunState.CANCELLING or waited >= grace:
            return run
        yield Pause(_PAUSE)
        waited += _PAUSE
