"""Parts of the shared poller: a wait between two polls, a list in pieces, and lanes for pages.

None of these sends anything. What is sent, and when, is in `polling`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from empirical_provider.endpoints import Sighting
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.wait import LONGEST_RETRY_AFTER

__all__ = ["Lane", "Listing", "Sleeper"]

_USELESS = 0.25
"""Pages in a row without any of our runs that are put up with, for each run still to be found."""

_AT_ONCE = 20
"""Pages of runs that one lane requests at the same time at most."""

_PATIENCE = 0.25
"""Seconds after which a request does not wait any longer for the first connection to be free."""


class Sleeper:
    """A wait between two polls.

    Args:
        run_id: Its run.
        state: What the poll before has seen; None: nothing.
        seconds: Its pause.
        early: Seconds by which it may be served too early.
        now: When the pause begins, by the loop's clock.
        limit_at: When its next limit is reached: then it is woken, whatever else is going on.
        page_at: From when on a list is not believed without a look at the run's own page.
        heard: Gets the run as a list shows it, or None where the run's own page is to be read.
    """

    __slots__ = (
        "at",
        "early",
        "heard",
        "limit_at",
        "page_at",
        "run_id",
        "seconds",
        "state",
        "timer",
        "timer_at",
    )

    def __init__(
        self,
        run_id: int,
        *,
        state: TestRunState | None,
        seconds: float,
        early: float,
        now: float,
        limit_at: float,
        page_at: float,
        heard: asyncio.Future[TestRun | None],
    ) -> None:
        self.run_id = run_id
        self.state = state
        self.seconds = seconds
        self.early = early
        self.at = now + seconds
        self.limit_at = limit_at
        self.page_at = page_at
        self.heard = heard
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0

    def wants_list(self, now: float) -> bool:
        """Whether it is due, or so soon that it may share a list."""
        return self.at - self.early <= now and not self.heard.done()

    def hear(self, found: TestRun | None) -> None:
        """Wake the wait, unless it has gone."""
        if not self.heard.done():
            self.heard.set_result(found)

    def saw(self, run: TestRun, now: float) -> None:
        """Take in what a list shows. A run that goes on as before wakes nobody."""
        if run.state.is_terminal:
            if self.state is not None or now >= self.at:
                self.hear(None)
        elif run.state.is_known:
            if now >= self.page_at:
                if self.wants_list(now):
                    self.hear(None)
            elif run.state == self.state and self.seconds > 0:
                self.at = now + self.seconds
            else:
                self.hear(run)


class Listing:
    """How far a list has been read, and whether it is worth reading on."""

    def __init__(self, wanted: Iterable[int]) -> None:
        self._left = set(wanted)
        self.wanted = len(self._left)
        self.pages = 0
        self._oldest = min(self._left)
        self._useless = 0
        self._at_its_end = False

    def saw(self, page: Sighting) -> None:
        """Take in one more page."""
        self.pages += 1
        hits = self._left & page.runs.keys()
        self._left -= hits
        self._useless = 0 if hits else self._useless + 1
        self._at_its_end = not page.more or page.oldest <= self._oldest

    def is_worth_a_page(self) -> bool:
        """Say so while the next page may show more runs than it costs requests."""
        if self.pages == 0:
            return True
        return not self._at_its_end and self._useless <= len(self._left) * _USELESS > 0


class Lane:
    """Gives turns to requests for pages: first come, first served, and nobody is left out.

    While the service is quick, they share one connection; if that does not move, more are used.
    After a failure there is a pause before the next one, so that an outage is not made worse; after
    a success there is none.

    Args:
        pace: Seconds from a failure, and after one between two requests.
    """

    def __init__(self, pace: float) -> None:
        self._first = asyncio.Semaphore(1)
        self._more = asyncio.Semaphore(_AT_ONCE - 1)
        self._loop = asyncio.get_running_loop()
        self._next_at = 0.0
        self._slow, self._pace = pace, 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it until the context ends."""
        place = self._first
        try:
            async with asyncio.timeout(_PATIENCE if place.locked() else None):
                await place.acquire()
        except TimeoutError:
            place = self._more
            await place.acquire()
        try:
            while (pause := self._next_at - self._loop.time()) > 0:  # noqa: ASYNC110  # a time, no event
                await asyncio.sleep(pause)
            self._next_at = self._loop.time() + self._pace
            yield
        finally:
            place.release()

    def hold(self, until: float) -> None:
        """Give no turn before then."""
        self._next_at = max(self._next_at, until)

    def succeeded(self) -> None:
        """Take in that a request has been answered."""
        self._pace = 0.0

    def failed(self, error: EmpiricalError) -> float:
        """Take in that a request has failed; return the seconds for which it asks for a rest."""
        if not error.may_pass and error.status != 401:  # noqa: PLR2004  # it is about this run alone
            return 0.0
        self._pace = self._slow
        self.hold(self._loop.time() + self._pace)
        return min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
