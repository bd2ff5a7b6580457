"""After red tests: a further attempt re-runs them, once, instead of taking the red over.

The request to re-run takes no key. A re-run is known by the run that it repeats, which the service
names with it. Those that there were before are told apart by their ids, which grow: no two clocks
have to agree. No I/O of its own: see `searching`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError, TriggerOutcomeUnknownError
from empirical_provider.logs import CallLog
from empirical_provider.models import TestRun
from empirical_provider.rivals import at_rest, cancel_others, may_tell, seen_beside, with_states
from empirical_provider.searching import (
    Clocks,
    LimitedCall,
    Moment,
    Pause,
    Search,
    UntoldError,
)
from empirical_provider.trigger_key import Match, is_elsewhere

__all__ = ["best_rerun", "last_rerun_of", "listed_before", "search_for_reruns", "settled_rerun"]

log = CallLog.of(__name__)


def search_for_reruns(
    source: TestRun,
    since: Moment,
    clocks: Clocks,
    known: Callable[[TestRun], TestRun],
    *,
    after: int | None = 0,
) -> Search:
    """Return the search for the re-runs of a run that were started since a moment.

    Args:
        source: The run.
        since: The moment.
        clocks: See `Clocks`.
        known: See `Search`.
        after: Highest id that there was by then: no re-run up to it is meant. None: not known.
    """

    def match(run: TestRun, in_list: bool) -> Match:  # noqa: ARG001  # a search gives it
        if run.id <= max(source.id, after or 0):
            return Match.OTHER
        if run.rerun_source_id == source.id:
            return Match.UNTOLD if after is None else Match.OURS
        # A re-run shows the overrides of the run that it repeats, and so its key.
        keyed = source.trigger_key is not None and run.trigger_key is not None
        other_key = keyed and run.trigger_key != source.trigger_key
        told = other_key or "rerun_source_id" in run.shown or is_elsewhere(run, source.environment)
        return Match.OTHER if told else Match.UNTOLD

    return Search(match, since=since, clocks=clocks, known=known)


def listed_before() -> Generator[Call[Any], Any, set[int] | None]:
    """Return the ids of the newest runs that there are before a re-run; None: they are unknown."""
    try:
        listed = yield endpoints.list_test_runs(1, per_page=100)
    except EmpiricalError as error:
        log.warning("%s Re-running without knowing which runs there are.", error)
        return None
    return {run.id for run in listed.runs}


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
    unknown: Callable[[UntoldError], TriggerOutcomeUnknownError],
) -> Generator[Call[Any] | LimitedCall | Pause, Any, TestRun]:
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
            raise unknown(why) from why
        after = (yield from at_rest(best_rerun(found).id, rest)) if found else None
        if after is None or after.state.is_without_verdict:
            break
        run = after
    return run


def settled_rerun(
    own: TestRun, search: Search, grace: float
) -> Generator[Call[Any] | LimitedCall | Pause, Any, TestRun]:
    """Agree with others that have re-run the same run at the same time: the lowest id stays."""
    seen = yield from with_states((yield from seen_beside(own, search, grace)))
    winner = best_rerun(seen)
    too_many = seen[:1] if winner.id != own.id else seen[1:]
    yield from cancel_others(too_many, winner.id, started_here=own.id)
    return ((yield from at_rest(winner.id, grace)) or own) if winner.id != own.id else own
