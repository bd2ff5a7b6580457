"""What is asked in a round of looks at runs: lists of them where that is less, else each run.

A list shows 100 runs, newest first, and is read as far back as it takes. It tells who goes on. Who
has finished by it, or is not in it, is read alone: so a verdict goes by the same answer as that of
a wait that shares its looks with nobody.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from empirical_provider import endpoints
from empirical_provider.client import AsyncEmpiricalClient
from empirical_provider.endpoints import Sighting
from empirical_provider.exceptions import (
    AuthenticationError,
    EmpiricalError,
    NotSentError,
    RateLimitedError,
)
from empirical_provider.models import TestRun

__all__ = ["Looks", "Sleeper"]

log = logging.getLogger(__name__)

_FEWEST = 3
"""Runs for which a list is worth a try."""

_USELESS = 0.25
"""Pages in a row without any of our runs that are put up with, for each run still to be found."""

_LONGEST_REST = 16
"""Rounds at the most that go by without a list after one has not helped. A round of more than twice
as many runs is another matter."""

_AT_ONCE = 10
"""Runs that are read at the same time at most."""

_EACH = 20
"""Runs for which one connection is enough."""

_ENOUGH = 3
"""Failures in a row that tell of the service, not of a run."""


class Sleeper:
    """A wait between two looks.

    Args:
        run_id: Its run.
        at: When it wants to look, by the loop's clock.
        early: Seconds by which it may look early.
        heard: Gets what the look shows.
    """

    __slots__ = ("at", "early", "heard", "run_id")

    def __init__(self, run_id: int, at: float, early: float, heard: asyncio.Future[Any]) -> None:
        self.run_id = run_id
        self.at = at
        self.early = early
        self.heard = heard

    def hear(self, found: TestRun | EmpiricalError) -> None:
        """Wake the wait, unless it has gone."""
        if not self.heard.done():
            self.heard.set_result(found)


Waiting = dict[int, list[Sleeper]]
"""Who waits for a run, by its id."""


class Looks:
    """The looks of one round after the other, and what they have taught.

    Args:
        client: What all requests go through.
    """

    def __init__(self, client: AsyncEmpiricalClient) -> None:
        self._client = client
        self._rest = self._resting = self._in_vain = 0
        self._limited: RateLimitedError | None = None
        self._limited_until = 0.0
        self._gave_up_at = 0

    async def take(self, due: Iterable[Sleeper], others: Iterable[Sleeper]) -> None:
        """Look at the runs of all who are due; tell others, too, what is seen in passing."""
        waiting = _by_run(due)
        left = self._limited_until - asyncio.get_running_loop().time()
        if self._limited is not None and left > 0:
            again = copy.copy(self._limited)
            again.retry_after = left
            _tell(waiting, again)
            return
        if len(waiting) >= _FEWEST:
            if self._resting > 0 and len(waiting) <= 2 * self._in_vain:
                self._resting -= 1
            else:
                await self._by_list(waiting, _by_run(others))
        await self._one_by_one(waiting)

    async def _by_list(self, waiting: Waiting, others: Waiting) -> None:
        """Tell who waits for a run that goes on by the list; those who have heard are taken out."""
        listing = _Listing(waiting)
        try:
            while listing.is_worth_a_page():
                call = endpoints.look_at_runs(listing.pages + 1, waiting.keys() | others.keys())
                page = await self._client._send(call, retry_for=0)  # noqa: SLF001  # no retries here
                listing.saw(page)
                for run_id in _going_on(page):
                    run = self._client.with_url(page.runs[run_id])
                    for each in (*waiting.pop(run_id, ()), *others.pop(run_id, ())):
                        each.hear(run)
        except (AuthenticationError, NotSentError, RateLimitedError) as error:
            self._note(error)
            _tell(waiting, error)
        except EmpiricalError as error:
            log.info("The list of test runs is of no use: %s", error)
        helped = listing.wanted - len(waiting) > listing.pages
        self._rest = 0 if helped else min(max(1, 2 * self._rest), _LONGEST_REST)
        self._resting, self._in_vain = self._rest, listing.wanted

    async def _one_by_one(self, waiting: Waiting) -> None:
        """Read runs alone; a service that fails for all of them is not asked for each.

        Where that was a mistake, and it failed for a few of them, those come last the next time.
        """
        ids = iter(sorted(waiting, key=lambda run_id: (run_id <= self._gave_up_at, run_id)))
        failures, trouble = 0, None

        async def read_on() -> None:
            nonlocal failures, trouble
            for run_id in ids:
                found: TestRun | EmpiricalError
                try:
                    if trouble is not None:
                        raise trouble
                    found, failures = await self._client.get_test_run(run_id, retry_for=0), 0
                except EmpiricalError as error:
                    found = error
                    failures = failures + 1 if error.may_pass else 0
                    of_all = error.status in {401, 429}  # 403 may be about this run alone
                    if trouble is None and (failures >= _ENOUGH or of_all):
                        self._note(error)
                        trouble, self._gave_up_at = error, run_id
                for each in waiting[run_id]:
                    each.hear(found)

        await asyncio.gather(*(read_on() for _ in range(min(_AT_ONCE, -(-len(waiting) // _EACH)))))

    def _note(self, error: EmpiricalError) -> None:
        if error is not self._limited and isinstance(error, RateLimitedError) and error.retry_after:
            self._limited = error
            self._limited_until = asyncio.get_running_loop().time() + error.retry_after


class _Listing:
    """How far a list has been read, and whether it is worth reading on."""

    def __init__(self, waiting: Mapping[int, object]) -> None:
        self.wanted = len(waiting)
        self.pages = 0
        self._left = set(waiting)
        self._oldest = min(waiting)
        self._useless = 0
        self._at_its_end = False

    def saw(self, page: Sighting) -> None:
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


def _going_on(page: Sighting) -> Iterator[int]:
    """Return the runs that have not finished by what a list tells; without a state nobody knows."""
    for run_id, run in page.runs.items():
        if run.state.is_known and not run.state.is_terminal:
            yield run_id


def _by_run(sleepers: Iterable[Sleeper]) -> Waiting:
    waiting: Waiting = {}
    for each in sleepers:
        waiting.setdefault(each.run_id, []).append(each)
    return waiting


def _tell(waiting: Waiting, error: EmpiricalError) -> None:
    """Tell all the same; nobody is left waiting."""
    for sleepers in waiting.values():
        for each in sleepers:
            each.hear(error)
    waiting.clear()
