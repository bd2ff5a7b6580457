"""After red tests: a further attempt re-runs them, once, instead of taking the red over.

The request to re-run takes no key. A re-run is known by the run that it repeats, which the service
names with it. No I/O of its own: see `searching`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from empirical_provider.endpoints import Call
from empirical_provider.exceptions import TriggerOutcomeUnknownError
from empirical_provider.models import TestRun
from empirical_provider.rivals import at_rest, cancel_others
from empirical_provider.searching import Clocks, Pause, Search, UntoldError
from empirical_provider.trigger_key import Match

__all__ = ["last_rerun_of", "search_for_reruns", "settled_rerun"]


def search_for_reruns(source: TestRun, since: float, slack: float, clocks: Clocks) -> Search:
    """Return the search for the re-runs of a run that were started since a moment."""

    def match(run: TestRun, in_list: bool) -> Match:  # noqa: ARG001
        if run.rerun_source_id == source.id:
            return Match.OURS
        told = run.trigger_key is not None or "rerun_source_id" in run.shown
        return Match.OTHER if told or run.id <= source.id else Match.UNTOLD

    return Search(
        match,
        environment=source.environment or "",
        since=since,
        slack=slack,
        clocks=clocks,
    )


def last_rerun_of(
    source: TestRun,
    search: Callable[[TestRun], Search],
    *,
    grace: float,
    rest: float,
    is_red: Callable[[TestRun], bool],
    unknown: Callable[[str], TriggerOutcomeUnknownError],
) -> Generator[Call[Any] | Pause, Any, TestRun]:
    """Follow a red run to its re-run, and on while that is red, too; return the last.

    Args:
        source: The run to begin with.
        search: Finds the re-runs of a run that earlier attempts may have started.
        grace: Seconds in which a run that an earlier attempt has started may still come up.
        rest: Seconds to wait for a run that is being cancelled.
        is_red: Tells whether a run has failed tests.
        unknown: Makes the error for what nobody can tell, of the reason.
    """
    run = source
    while is_red(run):
        try:
            found = yield from search(run).wait_for_any(grace)
        except UntoldError as why:
            raise unknown(str(why)) from why
        alive = sorted(each.id for each in found if not each.state.is_without_verdict)
        after = (yield from at_rest(alive[0], rest)) if alive else None
        if after is None or after.state.is_without_verdict:
            break
        run = after
    return run


def settled_rerun(
    own: TestRun, others: list[TestRun], rest: float
) -> Generator[Call[Any] | Pause, Any, TestRun]:
    """Agree with others that have re-run the same run at the same time: the lowest id stays."""
    alive = sorted([own, *others], key=lambda run: run.id)
    winner = next(run for run in alive if run.id == own.id or not run.state.is_without_verdict)
    too_many = [own] if winner.id != own.id else others
    yield from cancel_others(too_many, winner.id, started_here=own.id)
    return ((yield from at_rest(winner.id, rest)) or own) if winner.id != own.id else own
