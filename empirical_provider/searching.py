"""Finding the run that a request has started, of which the answer was lost. No I/O of its own.

A search is a generator of the calls to make: its driver makes them, and sends back what they came
to. So the sync and the async client share every decision, and a test can stop it anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError, NotFoundError
from empirical_provider.models import TestRun
from empirical_provider.trigger_key import Match

__all__ = ["Clocks", "Pause", "Search", "UntoldError"]

_MOST_PAGES = 20
_MOST_DETAILS = 20
_PER_PAGE = 100

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 10.0

_UNKNOWN_SKEW = 3600.0
"""Seconds that the service's clock may differ from ours where it does not tell its own."""


class UntoldError(Exception):
    """What is shown of the runs does not tell whether one of them is the one; the text says why."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A step: wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The two clocks that a search goes by.

    Args:
        wall: This machine's clock, in seconds since the epoch.
        server_ahead: Seconds that the service's is ahead of it, by its last answer; None: unknown.
    """

    wall: Callable[[], float]
    server_ahead: Callable[[], float | None]

    def at_the_service(self, moment: float, slack: float) -> float:
        """Return a moment of this machine by the service's clock, or a little before it."""
        ahead = self.server_ahead()
        return moment - _UNKNOWN_SKEW if ahead is None else moment + ahead - slack


class Search:
    """A search for runs among those created since a moment.

    Args:
        match: Tells whether a run is one; called with the run and whether a list shows it.
        environment: Slug of the environment that it is in; elsewhere only certain matches count.
        since: The moment, by this machine's clock.
        slack: Seconds by which clocks may differ that nobody can compare.
        clocks: See `Clocks`.
    """

    def __init__(
        self,
        match: Callable[[TestRun, bool], Match],
        *,
        environment: str,
        since: float,
        slack: float,
        clocks: Clocks,
    ) -> None:
        self._match = match
        self._environment = environment.lower()
        self._since = since
        self._slack = slack
        self._clocks = clocks
        self._others: set[int] = set()  # what a run was started under never changes
        self.listed: set[int] = set()
        """Ids of all runs that a list has shown."""

    @property
    def newest(self) -> int:
        """The highest of those; 0: there is none."""
        return max(self.listed, default=0)

    def wait_for_any(self, seconds: float) -> Generator[Call[Any] | Pause, Any, list[TestRun]]:
        """Look until there is a match, or the time is up; return all matches.

        A match that never has a verdict does not count yet: the run that took its place may not be
        listed. Nothing found is certain: there is no such run among those created since.

        Raises:
            UntoldError: Nobody can tell. The cause is what went wrong, if something has.
        """
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            found: list[TestRun] = []
            untold: UntoldError | None = None
            try:
                found = yield from self.look()
            except UntoldError as error:
                untold = error
            if any(run.state.is_known and not run.state.is_without_verdict for run in found):
                return found
            if waited >= seconds:
                break
            yield Pause(min(pause, seconds - waited))
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)
        if untold is not None:
            raise untold
        return found

    def look(self) -> Generator[Call[Any] | Pause, Any, list[TestRun]]:
        """Look once, and return all matches; see `wait_for_any`."""
        try:
            matches, untold = yield from self._read_lists()
            if not matches:
                matches = yield from self._read_details(untold)
        except EmpiricalError as error:
            raise UntoldError(f"the runs could not be looked through: {error}") from error
        return matches

    def _read_lists(self) -> Generator[Call[Any], Any, tuple[list[TestRun], list[TestRun]]]:
        """Go through the lists, newest first, until they are older than the moment."""
        matches: dict[int, TestRun] = {}
        untold: dict[int, TestRun] = {}
        for page in range(1, _MOST_PAGES + 1):
            listed = yield endpoints.list_test_runs(page, per_page=_PER_PAGE)
            bar = self._clocks.at_the_service(self._since, self._slack)
            recent = [
                run for run in listed.runs if run.created is None or run.created.timestamp() >= bar
            ]
            self.listed |= {run.id for run in listed.runs}
            for run in recent:
                told = self._match(run, True)  # noqa: FBT003  # in a list
                if told is Match.OURS:
                    matches[run.id] = run
                elif told is Match.UNTOLD and self._may_be_here(run):
                    untold[run.id] = run
            if not listed.more or (listed.runs and not recent):
                return list(matches.values()), list(untold.values())
        if matches:
            return list(matches.values()), []
        raise UntoldError(f"more than {_MOST_PAGES * _PER_PAGE} runs were started since")

    def _may_be_here(self, run: TestRun) -> bool:
        elsewhere = run.environment is not None and run.environment.lower() != self._environment
        return not elsewhere and run.id not in self._others

    def _read_details(self, untold: list[TestRun]) -> Generator[Call[Any], Any, list[TestRun]]:
        """Read the runs of which the lists do not tell, those from next to the moment first."""
        matches = []
        left = sorted(untold, key=lambda run: run.id)
        for run in left[:_MOST_DETAILS]:
            try:
                detail = yield endpoints.get_test_run(run.id)
            except NotFoundError:
                continue  # the list has just shown it: the next look tells more
            told = self._match(detail, False)  # noqa: FBT003  # not in a list
            if told is Match.OURS:
                matches.append(detail)
            elif told is Match.OTHER:
                self._others.add(run.id)
        unsure = [run.id for run in left if run.id not in self._others]
        if unsure and not matches:
            raise UntoldError(
                f"of {len(unsure)} runs started since, such as test run {unsure[0]}, nothing tells "
                f"what they were started for"
            )
        return matches
