"""One poll for all watchers of a connection, each of which remembers for itself what it was told.

Airflow drives it from 3.3 on: `Poll` gives looks to all watchers at once, and is told when what
they made of one is stored (see ``airflow.triggers.shared_stream``). Only then do they save how far
they are: killed before that, they tell those ends again; killed after it, they do not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.exceptions import AuthenticationError, EmpiricalError

if TYPE_CHECKING:
    from empirical_provider.airflow.remembering import Memory
    from empirical_provider.client import AsyncEmpiricalClient
    from empirical_provider.end_events import EndFilter
    from empirical_provider.ended_runs import Cursor, Look
    from empirical_provider.verdict import Verdict

__all__ = ["Poll", "Watcher", "Watchers", "watchers_of"]

log = logging.getLogger(__name__)


class Watcher:
    """One watcher: what it has been told of, and how much of that it has saved.

    Args:
        wanted: Which ends it wants to be told.
        memory: Where it saves what it was told.
        poll_interval: Seconds between two looks.
    """

    def __init__(self, wanted: EndFilter, memory: Memory, poll_interval: float) -> None:
        self._wanted = wanted
        self._memory = memory
        self.poll_interval = poll_interval
        self.cursor: Cursor | None = None
        self._unsaved: dict[int, Cursor] = {}

    async def recall(self) -> None:
        """Go on where it was."""
        self.cursor = await self._memory.recall()

    def hear(self, number: int, look: Look) -> Iterator[Verdict]:
        """Give what a look has to tell; at the end of that, it has been told.

        Airflow hands it looks from before it has joined the others, too.
        """
        if not look.serves(self.cursor):
            return
        verdicts, after = self._wanted.tell(self.cursor, look)
        yield from verdicts
        self._unsaved[number] = self.cursor = after

    async def save(self, number: int) -> None:
        """Save that it has been told of a look and of those before; what fails is saved later."""
        done = [each for each in self._unsaved if each <= number]
        if done and await self._memory.save(self._unsaved[max(done)]):
            for each in done:
                self._unsaved.pop(each, None)


class Watchers:
    """Those who share one poll."""

    def __init__(self) -> None:
        self._members: list[Watcher] = []
        self.there_are_some = asyncio.Event()

    @contextmanager
    def joined_by(self, watcher: Watcher) -> Iterator[None]:
        """Have one more of them for a while."""
        self._members.append(watcher)
        self.there_are_some.set()
        try:
            yield
        finally:
            self._members.remove(watcher)
            if not self._members:
                self.there_are_some.clear()

    @property
    def cursors(self) -> list[Cursor | None]:
        """What each has been told of."""
        return [each.cursor for each in self._members]

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks: the shortest that one of them wants."""
        return min((each.poll_interval for each in self._members), default=1.0)

    async def save(self, number: int) -> None:
        """Have all save that they have been told of a look and of those before."""
        for each in list(self._members):
            await each.save(number)


_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Watchers]] = WeakKeyDictionary()


def watchers_of(conn_id: str) -> Watchers:
    """Return those who share the poll of a connection in this event loop."""
    return _watchers.setdefault(asyncio.get_running_loop(), {}).setdefault(conn_id, Watchers())


class Poll:
    """Looks at the runs of a connection again and again, for its watchers.

    It stands in for a ``SharedStreamProducer`` of Airflow 3.3. Nothing ends it: trouble is logged
    when it changes, and the next look is taken after the interval, or when the service asks for it.

    Args:
        conn_id: Id of the connection.
        watchers: For whom it looks; default: all in this event loop that watch the connection.
    """

    def __init__(self, conn_id: str, watchers: Watchers | None = None) -> None:
        self._conn_id = conn_id
        self._watchers = watchers
        self._trouble = ""

    async def open_stream(self) -> AsyncGenerator[tuple[tuple[int, Look], int], None]:
        """Give numbered looks, for ever."""
        watchers = self._watchers = self._watchers or watchers_of(self._conn_id)
        number = 0
        while True:
            await watchers.there_are_some.wait()
            try:
                async with await EmpiricalHook(self._conn_id).aget_conn() as client:
                    async for look in self._looks(client, watchers):
                        number += 1
                        yield (number, look), number
            except Exception as error:  # noqa: BLE001  # a trigger that ends is begun again at once
                self._tell(error)
                await asyncio.sleep(watchers.poll_interval)

    async def _looks(
        self, client: AsyncEmpiricalClient, watchers: Watchers
    ) -> AsyncGenerator[Look, None]:
        """Give looks until the key is refused: it may have been replaced."""
        from empirical_provider.ended_runs import alook_for_ended_runs

        loop = asyncio.get_running_loop()
        while True:
            next_at = loop.time() + watchers.poll_interval * random.uniform(0.9, 1.1)  # noqa: S311  # no secret
            await watchers.there_are_some.wait()
            try:
                look = await alook_for_ended_runs(client, watchers.cursors)
            except AuthenticationError:
                raise
            except EmpiricalError as error:
                self._tell(error)
                next_at = max(next_at, loop.time() + (error.retry_after or 0.0))
            else:
                self._tell(None)
                yield look
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    def _tell(self, error: Exception | None) -> None:
        trouble = "" if error is None else f"{type(error).__name__}: {error}"
        if trouble and trouble != self._trouble:
            about = None if isinstance(error, EmpiricalError) else error
            log.error("Ended test runs cannot be looked for. %s", trouble, exc_info=about)
        elif self._trouble and not trouble:
            log.info("Ended test runs can be looked for again.")
        self._trouble = trouble

    async def advance(self, batch: Sequence[Any]) -> None:
        """Have the watchers save how far they are; all they made of these looks is stored.

        Where something of a look has failed, nothing is saved: its ends are told again.
        """
        clean = [item.broker_payload for item in batch if item.outcome.is_clean]
        if self._watchers is not None and len(clean) == len(batch):
            await self._watchers.save(max(clean))

    def get_advance_lane(self, broker_payload: object) -> None:
        """Say that looks are stored in their order."""

    async def aclose(self) -> None:
        """Close nothing: the stream closes its own client."""
