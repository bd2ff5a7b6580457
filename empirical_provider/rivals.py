"""Which of several runs under one key is the one. No I/O of its own: see `searching`.

The rule: of those that may have a verdict the one with the lowest id. Whoever has started it, or
takes it over, cancels the others; whoever gives way cancels its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import AlreadyFinishedError, EmpiricalError, NotFoundError
from empirical_provider.logs import CallLog
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.searching import LimitedCall, Pause, Search, UntoldError
from empirical_provider.trigger_key import TriggerKey, shown_by

__all__ = ["at_rest", "cancel_others", "may_tell", "seen_beside", "winner_of", "with_states"]

log = CallLog.of(__name__)

_PAUSE = 2.0
_LOOK_AGAIN = 1.0


def may_tell(run: TestRun) -> bool:
    """Say whether a run has a verdict, or may get one."""
    return not run.state.is_without_verdict and run.state != TestRunState.CANCELLING


def winner_of(runs: Iterable[TestRun]) -> tuple[TestRun, TriggerKey, list[TestRun]]:
    """Return the one run of several that all show a key, its key, and its rivals.

    Where none may have a verdict, it is the last one, that with the highest n: the next one gets
    the next.
    """
    keyed = [(run, key) for run in runs if (key := TriggerKey.parse(run.trigger_key)) is not None]
    (winner, key), *rivals = sorted(
        keyed,
        key=lambda each: (0, each[0].id) if may_tell(each[0]) else (1_000 - each[1].n, -each[0].id),
    )
    return winner, key, [run for run, _ in rivals]


def seen_beside(
    own: TestRun, search: Search, grace: float
) -> Generator[Call[Any] | LimitedCall | Pause, Any, list[TestRun]]:
    """Return the runs that match, once lists show our own run, which is the first of them.

    Ids grow, and a list that shows our run shows those before it: so everybody who has started one
    sees the same lowest id. Our own may have been cancelled for another one meanwhile.
    """
    began = search.clocks.running()
    search.ends_in(grace)
    while True:
        try:
            found = yield from search.look(for_all=True)
        except UntoldError as why:
            log.warning("Nobody can tell whether test run %s is the only one: %s", own.id, why)
            return [own]
        if own.id in search.listed or search.clocks.running() - began >= grace:
            ours = next((run for run in found if run.id == own.id), own)
            return [ours, *(run for run in found if run.id != own.id)]
        yield Pause(_LOOK_AGAIN)


def with_states(runs: Iterable[TestRun]) -> Generator[Call[Any], Any, list[TestRun]]:
    """Return the runs, those of which a list does not tell the state as their pages show them."""
    known = []
    for run in runs:
        seen = run
        if not run.state.is_known:
            try:
                detail: TestRun = yield endpoints.get_test_run(run.id)
                seen = replace(detail, trigger_key=shown_by(run, detail))
            except EmpiricalError as error:
                log.warning("%s Going on with what a list tells of it.", error)
        known.append(seen)
    return known


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

    It is gone only if it cannot be found for all of the time: it may have been started a moment
    ago, or a proxy answer for the service.

    Args:
        run_id: Database id of the run.
        grace: Seconds to wait for a run that is being cancelled, or not found.
    """
    waited = 0.0
    while True:
        run: TestRun | None = None
        with suppress(NotFoundError):
            run = yield endpoints.get_test_run(run_id)
        if (run is not None and run.state != TestRunState.CANCELLING) or waited >= grace:
            return run
        yield Pause(_PAUSE)
        waited += _PAUSE
