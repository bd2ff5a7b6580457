"""One poller for all that wait for runs over one connection in one event loop.

Each wait keeps its own timer, deadline, cancellation and errors. What they share is an economy: a
list of runs, which is read once for all that are due, or so soon that it saves a request. The list
only says that a run goes on as before; a wait is ended by nothing but the run's own page, and its
last poll waits for no other request.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from empirical_provider import endpoints
from empirical_provider.base_client import settings_of
from empirical_provider.client import AsyncEmpiricalClient
from empirical_provider.endpoints import Call, Sighting
from empirical_provider.exceptions import EmpiricalError, NoAnswerError, RateLimitedError
from empirical_provider.looking import Lane, Listing, Sleeper
from empirical_provider.models import TestRun
from empirical_provider.wait import LONGEST_RETRY_AFTER, SharesPolls

__all__ = ["Poller", "SharedClient", "shared_client"]

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_FEWEST = 3
"""Runs for which a list is worth a try."""

_EARLY = 0.25
"""The part of its interval by which a wait may be served too early, to share a list."""

_GATHERED_FOR = 0.5
"""Seconds for which waits that begin one by one gather, so that they share their first list."""

_LIST_WITHIN = 5.0
"""Seconds that a page of the list may take: it is there to save time."""

_FIRST_REST, _LONGEST_REST = 10.0, 160.0
"""Seconds without a list after one has not helped, doubled each time; for twice as many runs one is
tried."""

_COUNTED_EVERY = 1.0
"""Seconds after which it is seen whether so many are due by now that a list need not rest."""

_PACE, _PACE_OF_FAILURES = 0.1, 1.0
"""Seconds between two pages after one has failed: of runs that could be read before; of others."""

_BELIEVED_FOR = 600.0
"""Seconds for which lists alone may say that a run goes on; later, as long as the wait took."""


class Poller:
    """What the waits of one connection share.

    Args:
        client: The one client that all requests go through; closed with the last wait.
        request_timeout: Seconds that one request may take.
    """

    def __init__(self, client: AsyncEmpiricalClient, *, request_timeout: float = 20.0) -> None:
        self.client = client
        self.request_timeout = request_timeout
        self.waits = 0
        self._loop = asyncio.get_running_loop()
        self._sleepers: dict[int, list[Sleeper]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._lane, self._lane_of_failures = Lane(_PACE), Lane(_PACE_OF_FAILURES)
        self._held_until = self._no_hold_until = 0.0
        self._rest = self._rest_until = 0.0
        self._in_vain = 0
        self._count_at = 0.0

    async def close(self) -> None:
        """End it: nobody waits any more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.client.aclose()

    # Pages

    async def page(self, run_id: int, *, has_failed: bool) -> TestRun:
        """Read a run's own page, in turn. Runs that fail do not stand before the others."""
        lane = self._lane_of_failures if has_failed else self._lane
        async with lane.turn():
            try:
                run = await self.client.get_test_run(run_id, retry_for=0)
            except EmpiricalError as error:
                rest = lane.failed(error)
                if has_failed:
                    lane.hold(self._loop.time() + rest)
                else:
                    self._hold(rest)
                raise
            lane.succeeded()
            return run

    def _hold(self, seconds: float) -> bool:
        """Let nobody ask for anything, last polls excepted; not twice in a row."""
        now = self._loop.time()
        if not seconds or now < self._no_hold_until:
            return False
        self._held_until = now + seconds
        self._no_hold_until = self._held_until + LONGEST_RETRY_AFTER
        self._lane.hold(self._held_until)
        self._lane_of_failures.hold(self._held_until)
        return True

    # Lists

    def time_to_gather(self) -> float:
        """Return the seconds that a wait may take before its first poll."""
        return _GATHERED_FOR if len(self._sleepers) >= _FEWEST else 0.0

    async def until_due(self, sleeper: Sleeper) -> TestRun | None:
        """Sleep until a poll is due; return the run as a list shows it, or None: read its page."""
        same = self._sleepers.setdefault(sleeper.run_id, [])
        same.append(sleeper)
        self._arm(sleeper, sleeper.at)
        try:
            return await sleeper.heard
        finally:
            if sleeper.timer is not None:
                sleeper.timer.cancel()
            same.remove(sleeper)
            if not same:
                del self._sleepers[sleeper.run_id]

    def _arm(self, sleeper: Sleeper, at: float) -> None:
        if sleeper.timer is not None:
            sleeper.timer.cancel()
        sleeper.timer_at = min(at, sleeper.limit_at)
        sleeper.timer = self._loop.call_at(sleeper.timer_at, self._ring, sleeper)

    def _ring(self, sleeper: Sleeper) -> None:
        now = self._loop.time()
        if sleeper.heard.done():
            return
        if now >= sleeper.limit_at:
            sleeper.hear(None)
        elif now < sleeper.at:  # a list has served it meanwhile
            self._arm(sleeper, sleeper.at)
        elif now < self._held_until:
            self._arm(sleeper, self._held_until)
        elif self._reading is not None or (
            now >= self._count_at and self._is_list_worth(len(self._sleepers))
        ):
            self._arm(sleeper, sleeper.limit_at)
            if self._reading is None:
                self._reading = self._loop.create_task(self._read_lists())
        else:
            sleeper.hear(None)

    def _is_list_worth(self, runs: int) -> bool:
        is_resting = self._loop.time() < self._rest_until and runs <= 2 * self._in_vain
        return runs >= _FEWEST and not is_resting

    async def _read_lists(self) -> None:
        """Serve all that are due, and those that become due meanwhile."""
        try:
            while due := self._due():
                now, runs = self._loop.time(), {each.run_id for each in due}
                if await self._read_list(runs, now):
                    for each in due:
                        if each.wants_list(now):  # the list does not show it
                            each.hear(None)
        except Exception:  # or nobody would hear of anything again
            log.exception("A list of test runs could not be used.")
            self._rest_until = self._loop.time() + _LONGEST_REST
        finally:
            self._reading = None
            self._let_go()

    def _due(self) -> list[Sleeper]:
        """Return those that a list is to be read for now: none, where it is not worth it."""
        now = self._loop.time()
        due = [each for each in self._waiting() if each.wants_list(now)]
        if now < self._held_until or not any(each.at <= now for each in due):
            return []
        runs = len({each.run_id for each in due})
        if self._is_list_worth(runs):
            return due
        if runs >= _FEWEST:  # it rests: not all are counted again for each wait
            self._count_at = now + _COUNTED_EVERY
        return []

    def _let_go(self) -> None:
        """Send those that are due to their runs' pages, unless nothing may be asked for now."""
        now = self._loop.time()
        for each in self._waiting():
            if each.at > now:
                continue
            if now < self._held_until:
                self._arm(each, self._held_until)
            else:
                each.hear(None)

    def _waiting(self) -> list[Sleeper]:
        return [each for same in self._sleepers.values() for each in same]

    async def _read_list(self, runs: set[int], now: float) -> bool:
        """Read a list as far as it helps these runs; return False where it is to be read later."""
        listing = Listing(runs)
        try:
            while listing.is_worth_a_page():
                call = endpoints.look_at_runs(listing.pages + 1, self._sleepers)
                async with asyncio.timeout(_LIST_WITHIN):
                    page = await self.client._send(call, retry_for=0)  # noqa: SLF001  # of the package
                listing.saw(page)
                self._saw(page)
        except RateLimitedError as error:
            log.info("The list of test runs is rate-limited: %s", error)
            if self._hold(min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)):
                return False
        except (EmpiricalError, TimeoutError) as error:
            log.info("The list of test runs is of no use: %r", error)
        left = {
            each.run_id
            for run_id in runs
            for each in self._sleepers.get(run_id, ())
            if each.wants_list(now)
        }
        has_helped = listing.wanted - len(left) > listing.pages
        self._rest = 0.0 if has_helped else min(max(_FIRST_REST, 2 * self._rest), _LONGEST_REST)
        self._rest_until, self._in_vain = self._loop.time() + self._rest, listing.wanted
        return True

    def _saw(self, page: Sighting) -> None:
        now = self._loop.time()
        for run_id, run in page.runs.items():
            for each in self._sleepers.get(run_id, ()):
                each.saw(run, now)
                if each.at < each.timer_at:
                    self._arm(each, each.at)


class SharedClient(SharesPolls):
    """What one wait sees of a shared client: `await_for_test_run` takes it for a client of its own.

    Args:
        poller: That of its connection.
        run_id: The one run that it waits for.
    """

    def __init__(self, poller: Poller, run_id: int) -> None:
        self._poller = poller
        self._run_id = run_id
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._page_at = 0.0
        self._has_slept = self._has_polled = False
        self._end_by: float | None = None
        self._found: TestRun | None = None
        self.with_url = poller.client.with_url
        # The clock of a wait is its client's.
        self._clock = poller.client._clock  # noqa: SLF001

    async def _sleep(self, seconds: float) -> None:
        """Pause until the next poll is due, or a list shows the run."""
        self._has_slept = True
        if self.wait is None:
            await asyncio.sleep(seconds)
            return
        now = self._loop.time()
        if not self._page_at:
            self._believe_lists()
        sleeper = Sleeper(
            self._run_id,
            state=self.wait.state,
            seconds=seconds,
            early=seconds * _EARLY if self._has_polled else seconds,
            now=now,
            limit_at=now + self.wait.next_limit(),
            page_at=0.0 if self.wait.is_refused else self._page_at,
            heard=self._loop.create_future(),
        )
        self._found = await self._poller.until_due(sleeper)

    async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> TestRun:
        """Return what a list has shown, or else read the run's own page."""
        wait = self.wait
        if wait is None:
            return await self._poller.client.get_test_run(run_id, retry_for=retry_for)
        if not self._has_slept:
            await self._sleep(self._poller.time_to_gather())
        found, self._found, self._has_slept = self._found, None, False
        wait.confirmed = found is None or wait.needs_page(found)
        has_failed = self._has_polled and wait.state is None
        self._has_polled = True
        if found is not None and not wait.confirmed:
            return self.with_url(found)
        left = wait.time_left()
        if left > 0:
            try:
                async with asyncio.timeout(left):
                    run = await self._poller.page(run_id, has_failed=has_failed)
            except TimeoutError:
                log.debug("Test run %s: the deadline has come before a page did.", run_id)
            else:
                self._believe_lists()
                return run
        self._end_by = self._loop.time() + self._poller.request_timeout
        return await self._in_time(self._poller.client.get_test_run(run_id, retry_for=0))

    async def _send(self, call: Call[Any], *, retry_for: float | None = None) -> Any:
        """Send what the wait asks for apart from its polls."""
        return await self._in_time(self._poller.client._send(call, retry_for=retry_for))  # noqa: SLF001

    async def _in_time(self, request: Awaitable[_T]) -> _T:
        """Make a request that ends at the latest one request timeout after the deadline."""
        end_by = self._end_by
        if end_by is None:
            left = 0.0 if self.wait is None else max(0.0, self.wait.time_left())
            end_by = self._loop.time() + left + self._poller.request_timeout
        try:
            async with asyncio.timeout_at(end_by):
                return await request
        except TimeoutError:
            raise NoAnswerError(
                f"Could not read test run {self._run_id}: no response in time. Try again later.",
                run_id=self._run_id,
            ) from None

    def _believe_lists(self) -> None:
        """Let lists say for a while that the run goes on: they may be behind, for ever."""
        now = self._loop.time()
        seconds = max(_BELIEVED_FOR, now - self._began)
        self._page_at = now + seconds * random.uniform(0.8, 1.2)  # noqa: S311  # not all at once


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Poller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(run_id: int, **settings: Any) -> AsyncIterator[AsyncEmpiricalClient]:
    """Join those who wait in this event loop with the same settings, until the context ends.

    What it gives stands in for a client as far as `await_for_test_run` needs one.

    Args:
        run_id: The run to wait for.
        **settings: Those of `AsyncEmpiricalClient`. Who differs in any of them is apart.

    Raises:
        InvalidRequestError: A setting is not valid.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    key = settings_of(**settings)
    poller = pollers.get(key)
    if poller is None:
        limits = key.timeouts
        poller = pollers[key] = Poller(
            AsyncEmpiricalClient(**settings), request_timeout=limits.connect + limits.other
        )
    poller.client._mask_values(key.secrets)  # noqa: SLF001  # those of each wait, for all
    poller.waits += 1
    try:
        yield cast("AsyncEmpiricalClient", SharedClient(poller, run_id))
    finally:
        poller.waits -= 1
        if not poller.waits:
            del pollers[key]
            await poller.close()
