"""One poll for all that wait for runs over one connection in one event loop.

Each wait goes on as if it were alone, with its own deadline, cancellation and errors. Only its
looks are taken together with those of the others, in rounds; what a round asks is in `looking`.
Who waits may be looked at up to a quarter of its interval early, and never late.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

from empirical_provider.base_client import settings_of
from empirical_provider.client import AsyncEmpiricalClient
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.looking import Looks, Sleeper
from empirical_provider.models import TestRun

__all__ = ["Poller", "SharedClient", "shared_client"]

log = logging.getLogger(__name__)

_EARLY = 0.25
"""The part of its interval by which a run may be looked at too early, to be in one round."""


class Poller:
    """The rounds of one connection.

    Args:
        client: The one client that all requests go through; closed with the last wait.
    """

    def __init__(self, client: AsyncEmpiricalClient) -> None:
        self.client = client
        self.waits = 0
        self._loop = asyncio.get_running_loop()
        self._sleepers: set[Sleeper] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._round: asyncio.Task[None] | None = None
        self._looks = Looks(client)

    async def look(self, run_id: int, after: float) -> TestRun | EmpiricalError:
        """Return what a look at a run shows, ``after`` so many seconds or a little earlier."""
        sleeper = Sleeper(
            run_id, self._loop.time() + after, after * _EARLY, self._loop.create_future()
        )
        self._sleepers.add(sleeper)
        self._schedule(sleeper.at)
        try:
            found: TestRun | EmpiricalError = await sleeper.heard
            return found
        finally:
            self._sleepers.discard(sleeper)

    async def close(self) -> None:
        """End it: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)
        await self.client.aclose()

    # When there is a round

    def _schedule(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._begin), at

    def _begin(self) -> None:
        self._timer = None
        if self._round is None:  # else the end of that one sees to the next
            self._round = self._loop.create_task(self._play())

    async def _play(self) -> None:
        now = self._loop.time()
        due = {each for each in self._sleepers if each.at - each.early <= now}
        try:
            await self._looks.take(due, self._sleepers - due)
        except Exception as error:  # or nobody would hear of anything again
            log.exception("A round of looks has failed.")
            for each in due:
                each.hear(EmpiricalError(f"The look has failed: {error!r}"))
        self._round = None
        self._sleepers = {each for each in self._sleepers if not each.heard.done()}
        if self._sleepers:
            self._schedule(min(each.at for each in self._sleepers))


class SharedClient:
    """What one wait sees of a shared client: `await_for_test_run` takes it for a client of its own.

    Args:
        poller: The rounds of its connection.
        run_id: The one run that it waits for.
    """

    def __init__(self, poller: Poller, run_id: int) -> None:
        self._poller = poller
        self._run_id = run_id
        self._found: TestRun | EmpiricalError | None = None
        self.with_url = poller.client.with_url
        # The clock of a wait is its client's, and so is what it asks for apart from its looks.
        self._clock = poller.client._clock  # noqa: SLF001
        self._send = poller.client._send  # noqa: SLF001

    async def _sleep(self, seconds: float) -> None:
        """Pause until the next look, which is taken meanwhile."""
        self._found = await self._poller.look(self._run_id, seconds)

    async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> TestRun:  # noqa: ARG002  # the client's signature
        """Return what the last look has shown; the first one is taken now."""
        found, self._found = self._found, None
        if found is None:
            found = await self._poller.look(run_id, 0.0)
        if isinstance(found, EmpiricalError):
            raise copy.copy(found) from found.__cause__  # others raise it, too
        return found


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
        poller = pollers[key] = Poller(AsyncEmpiricalClient(**settings))
    poller.client._mask_values(key.secrets)  # noqa: SLF001  # those of each wait, for all
    poller.waits += 1
    try:
        yield cast("AsyncEmpiricalClient", SharedClient(poller, run_id))
    finally:
        poller.waits -= 1
        if not poller.waits:
            del pollers[key]
            await poller.close()
