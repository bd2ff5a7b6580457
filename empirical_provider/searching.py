"""Finding the run that a request has started, of which the answer was lost. No I/O of its own.

A search is a generator of the calls to make: its driver makes them, and sends back what they came
to. So the sync and the async client share every decision, and a test can stop it anywhere.

Whether a run is the one is decided by what it shows. Its date, which may be that of another clock
than the one of the ``Date`` header, only says how far back the list is read, and how far back runs
count that do not show whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from empirical_provider import endpoints
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError, NotFoundError
from empirical_provider.models import TestRun
from empirical_provider.trigger_key import Match, shown_by

__all__ = ["Clocks", "LimitedCall", "Moment", "Pause", "Search", "UntoldError"]

_MOST_PAGES = 20
_MOST_DETAILS = 20
_PER_PAGE = 100

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 10.0

_LONGEST = 60.0
"""Seconds in which a search makes its calls, where it is not given more: then it is over."""

_LAST_LOOK = 15.0
"""Seconds that its last look may take, which begins when they are gone."""

_SLACK = 600.0
"""Seconds by which the dates of runs may be wrong."""

_UNKNOWN_SKEW = 3600.0
"""Seconds that the service's clock may differ from ours where it does not tell its own."""

Moment = Callable[[], float]
"""A moment, by the service's clock as it is known when this is called."""


class UntoldError(Exception):
    """What is shown of the runs does not tell whether one of them is the one; the text says why.

    Attributes:
        for_good (bool): Whether a later search will not be told more.
    """

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


@dataclass(frozen=True, slots=True)
class Pause:
    """A step: wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LimitedCall:
    """A step: a call that is not tried again for longer than some seconds."""

    call: Call[Any]
    seconds: float


_Steps = Call[Any] | LimitedCall | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The clocks that a search uses.

    Args:
        wall: This machine's clock, in seconds since the epoch; it may be set while we run.
        running: This process's clock, which only ever goes on.
        service: The service's clock, by its last answer; None: unknown.
    """

    wall: Callable[[], float]
    running: Callable[[], float]
    service: Callable[[], float | None]

    def here(self) -> Moment:
        """Return now, for this process to tell later."""
        began = self.running()
        return lambda: self._ago(self.running() - began)

    def elsewhere(self, moment: float) -> Moment:
        """Return a moment that another process has noted by the clock of its machine."""
        return lambda: self._ago(self.wall() - moment)

    def _ago(self, seconds: float) -> float:
        now = self.service()
        return self.wall() - seconds - _UNKNOWN_SKEW if now is None else now - seconds


class Search:
    """A search for runs among those created since a moment.

    Args:
        match: Tells whether a run is one; called with the run and whether a list shows it.
        since: The moment.
        clocks: See `Clocks`.
        known: Adds to a run what this process knows of it.
    """

    def __init__(
        self,
        match: Callable[[TestRun, bool], Match],
        *,
        since: Moment,
        clocks: Clocks,
        known: Callable[[TestRun], TestRun],
    ) -> None:
        self._match = match
        self._since = since
        self._known = known
        self._ends_at: float | None = None
        self.clocks = clocks
        self.others: set[int] = set()
        """Ids of all runs that are certainly no match: what a run is for never changes."""
        self.listed: set[int] = set()
        """Ids of all runs that a list has shown."""

    @property
    def newest(self) -> int:
        """The highest of those; 0: there is none."""
        return max(self.listed, default=0)

    def wait_for_any(
        self, seconds: float, *, for_all: bool = False
    ) -> Generator[_Steps, Any, list[TestRun]]:
        """Look until there is a match, or the time is up; return all matches.

        A match that never has a verdict does not count yet: the run that took its place may not be
        listed. Nothing found is certain: there is no such run among those created since.

        Args:
            seconds: How long to look for one.
            for_all: Whether to use all of the time: others may start runs under the same key, and
                lists may show theirs first.

        Raises:
            UntoldError: Nobody can tell. The cause is what went wrong, if something has.
        """
        began, pause = self.clocks.running(), _FIRST_PAUSE
        ends_at = self.ends_in(seconds)
        found: list[TestRun] = []
        while True:
            untold: UntoldError | None = None
            looked_at = self.clocks.running()
            self._ends_at = max(ends_at, looked_at)  # the last look has its time
            try:
                found = yield from self.look(for_all=for_all)
            except UntoldError as error:
                untold = error
                found = found if for_all else []
            if not for_all and any(
                run.state.is_known and not run.state.is_without_verdict for run in found
            ):
                return found
            if looked_at >= began + seconds:
                break  # not by what time it is now: the process may have been stopped meanwhile
            yield Pause(max(0.0, min(pause, began + seconds - self.clocks.running())))
            pause = min(2 * pause, _LONGEST_PAUSE)
        if untold is not None and not found:
            raise untold
        return found

    def ends_in(self, seconds: float) -> float:
        """Make no calls when these seconds are gone, or a minute if that is longer; return when."""
        self._ends_at = self.clocks.running() + max(seconds, _LONGEST)
        return self._ends_at

    def look(self, *, for_all: bool) -> Generator[_Steps, Any, list[TestRun]]:
        """Look once, and return all matches, or at least one of them; see `wait_for_any`."""
        try:
            matches, untold = yield from self._read_lists()
            if for_all or not matches:
                matches = yield from self._read_details(untold, matches)
        except EmpiricalError as error:
            raise UntoldError(f"the runs could not be looked through: {error}") from error
        return matches

    def _call(self, call: Call[Any]) -> Generator[_Steps, Any, Any]:
        if self._ends_at is None:
            return (yield call)
        left = self._ends_at - self.clocks.running()
        if left < -_LAST_LOOK:
            raise UntoldError("the runs could not be looked through in time")
        return (yield LimitedCall(call, max(left, 0.0)))

    def _read_lists(self) -> Generator[_Steps, Any, tuple[list[TestRun], list[TestRun]]]:
        """Go through the lists, newest first, until they are older than the moment."""
        matches: dict[int, TestRun] = {}
        untold: dict[int, TestRun] = {}
        order = _Order()
        for page in range(1, _MOST_PAGES + 1):
            listed = yield from self._call(endpoints.list_test_runs(page, per_page=_PER_PAGE))
            bar = self._since() - _SLACK
            recent = False
            for shown in listed.runs:
                run = self._known(shown)
                order.add(run)
                self.listed.add(run.id)
                is_recent = run.created is None or run.created.timestamp() >= bar
                recent = recent or is_recent
                told = self._told(run, in_list=True)
                if told is Match.OURS and run.environment is None:
                    run, told = yield from self._read(run)
                if told is Match.OURS:
                    matches[run.id] = run
                elif told is Match.UNTOLD and is_recent:
                    untold[run.id] = run
            if not listed.more or (listed.runs and not recent and order.is_newest_first):
                return list(matches.values()), list(untold.values())
        if matches:
            return list(matches.values()), []
        raise UntoldError(
            f"more than {_MOST_PAGES * _PER_PAGE} runs were started since, or are listed in "
            f"another order than newest first",
            for_good=True,
        )

    def _told(self, run: TestRun, *, in_list: bool) -> Match:
        told = Match.OTHER if run.id in self.others else self._match(run, in_list)
        if told is Match.OTHER:
            self.others.add(run.id)
        return told

    def _read(self, run: TestRun) -> Generator[_Steps, Any, tuple[TestRun, Match]]:
        """Read the page of a run; that it is not found, though listed, tells nothing yet."""
        try:
            detail = yield from self._call(endpoints.get_test_run(run.id))
        except NotFoundError:
            return run, Match.UNTOLD
        detail = replace(detail, trigger_key=shown_by(run, detail))
        return detail, self._told(detail, in_list=False)

    def _read_details(
        self, untold: list[TestRun], listed: list[TestRun]
    ) -> Generator[_Steps, Any, list[TestRun]]:
        """Read the runs of which the lists do not tell, those from next to the moment first.

        Returns:
            Those that match, and those that are listed as matches.
        """
        matches = [*listed]
        missing = False
        left = sorted(untold, key=lambda run: run.id)
        for run in left[:_MOST_DETAILS]:
            detail, told = yield from self._read(run)
            if told is Match.OURS:
                matches.append(detail)
            missing = missing or detail is run
        unsure = [run.id for run in left if run.id not in self.others]
        if unsure and not matches:
            raise UntoldError(
                f"of {len(unsure)} runs started since, such as test run {unsure[0]}, nothing tells "
                f"what they were started for",
                for_good=not missing,
            )
        return matches


class _Order:
    """Whether the runs of a list come newest first, by id and by date."""

    def __init__(self) -> None:
        self.is_newest_first = True
        self._seen: set[int] = set()
        self._lowest = float("inf")
        self._oldest = float("inf")

    def add(self, run: TestRun) -> None:
        """Take the next run of the list; a run that starts meanwhile moves others up again."""
        if run.id in self._seen:
            return
        self._seen.add(run.id)
        created = self._oldest if run.created is None else run.created.timestamp()
        if run.id > self._lowest or created > self._oldest + _SLACK:
            self.is_newest_first = False
        self._lowest = min(self._lowest, run.id)
        self._oldest = min(self._oldest, created)
