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
from empirical_provider.rivals import at_rest, cancel_others, may_tell, seen_beside, with_states
from empirical_provider.searching import Clocks, Pause, Search, UntoldError
from empirical_provider.trigger_key import Match

__all__ = ["best_rerun", "last_rerun_of", "search_for_reruns", "settled_rerun"]


def search_for_reruns(
    source: TestRun, since: float, slack: float, clocks: Clocks, *, after: int = 0
) -> Search:
    """Return the search for the re-runs of a run that were started since a moment.

    Args:
        source: The run.
        since: The moment, by this machine's clock.
        slack: Seconds by which clocks may differ that nobody can compare.
        clocks: See `Clocks`.
        after: Highest id that was known by then: ids grow, so no re-run up to it is meant.
    """

    def match(run: TestRun, in_list: bool) -> Match:  # noqa: ARG001  # a search gives it
        if run.id <= max(source.id, after):
            return Match.OTHER
        if run.rerun_source_id == source.id:
            return Match.OURS
        told = run.trigger_key is not None or "rerun_source_id" in run.shown
        return Match.OTHER if told else Match.UNTOLD

    return Search(
        match,
        environment=source.environment or "",
        since=since,
        slack=slack,
        clocks=clocks,
    )


def best_rerun(runs: list[TestRun]) -> TestRun:
    """Return the one of several re-runs: the lowest id of those that may have a verdict."""
    return min([run for run in runs if may_tell(run)] or [max(runs, key=_id)], key=_id)


def _id(run: TestRun) -> int:
    return run.id


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
            found = yield from with_states((yield from search(run).wait_for_any(grace)))
        except UntoldError as why:
            raise unknown(str(why)) from why
        after = (yield from at_rest(best_rerun(found).id, rest)) if found else None
        if after is None or after.state.is_without_verdict:
            break
        run = after
    return run


def settled_rerun(
    own: TestRun, search: Search, grace: float
) -> Generator[Call[Any] | Pause, Any, TestRun]:
    """Agree with others that have re-run the same run at the same time: the lowest id stays."""
    seen = yield from with_states((yield from seen_beside(own, search, grace)))
    winner = best_rerun(seen)
    too_many = seen[:1] if winner.id != own.id else seen[1:]
    yield from cancel_others(too_many, winner.id, started_here=own.id)
    return ((yield from at_rest(winner.id, grace)) or own) if winner.id != own.id else own
