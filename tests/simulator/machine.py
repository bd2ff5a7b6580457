"""The machine on which the package runs in a scene: its clocks, pauses, event loop and network.

Everything is replaced at the lowest seam: the functions of `time`, the loop's selector, and the two
methods by which httpx hands a request to the network. So no private name of the package is needed,
and its code may be rewritten under the simulator.
"""

from __future__ import annotations

import asyncio
import logging
import random
import selectors
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

__all__ = ["ACTOR", "EPOCH", "Endless", "Killed", "Machine"]

EPOCH = 1_800_000_000.0
"""The true time at which a scene begins, in seconds since the epoch."""

ACTOR: ContextVar[str] = ContextVar("actor", default="")
"""Label of the wait or of the attempt that is being played."""


class Killed(BaseException):
    """The process ends here; the package gets no chance to say anything."""


class Endless(BaseException):
    """Simulated time has run far past everything that a scene can need."""


class Machine:
    """Clocks that move only if somebody waits.

    Args:
        horizon: Seconds after which a scene has no end.
    """

    def __init__(self, horizon: float = 100_000.0) -> None:
        self.now = 0.0
        self.horizon = horizon
        self.skews: dict[str, float] = {}
        """By how much the wall clock of each actor's machine is ahead of the true time."""
        self.clock_steps: list[tuple[float, float]] = []
        """When all wall clocks are set, and by how many seconds."""
        self.kill_at: float | None = None

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        stepped = sum(by for at, by in self.clock_steps if at <= self.now)
        return EPOCH + self.now + self.skews.get(ACTOR.get(), 0.0) + stepped

    def sleep(self, seconds: float) -> None:
        until = self.now + max(0.0, seconds)
        if self.kill_at is not None and until >= self.kill_at:
            self.now, self.kill_at = max(self.now, self.kill_at), None
            raise Killed
        self.now = until
        if self.now > self.horizon:
            raise Endless

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in an event loop whose time is the machine's."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            runner.run(coroutine)

    @contextmanager
    def running(self, exchange: Callable[..., Any], seed: int) -> Iterator[None]:
        """Put the machine in the place of the real one, and the service at the other end."""

        def blocking(_transport: object, request: httpx.Request) -> httpx.Response:
            steps = exchange(request)
            while True:
                try:
                    self.sleep(next(steps))
                except StopIteration as end:
                    response: httpx.Response = end.value
                    return response

        async def waiting(_transport: object, request: httpx.Request) -> httpx.Response:
            steps = exchange(request)
            while True:
                try:
                    seconds = next(steps)
                except StopIteration as end:
                    response: httpx.Response = end.value
                    return response
                await asyncio.sleep(seconds)

        random_before = random.getstate()
        random.seed(seed)
        logging.disable(logging.CRITICAL)
        try:
            with (
                mock.patch.object(time, "time", _here(self.wall, time.time)),
                mock.patch.object(time, "monotonic", _here(self.monotonic, time.monotonic)),
                mock.patch.object(time, "sleep", _here(self.sleep, time.sleep)),
                mock.patch.object(httpx.HTTPTransport, "handle_request", blocking),
                mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", waiting),
            ):
                yield
        finally:
            logging.disable(logging.NOTSET)
            random.setstate(random_before)


def _here(simulated: Callable[..., T], real: Callable[..., T]) -> Callable[..., T]:
    """Simulate in this thread only: servers of other tests may run in others."""
    thread = threading.get_ident()

    def function(*args: float) -> T:
        return (simulated if threading.get_ident() == thread else real)(*args)

    return function


class _Jumps(selectors.DefaultSelector):
    """Lets time pass at once, where a loop would wait for it."""

    machine: Machine

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Endless  # everybody waits for somebody else
        self.machine.sleep(max(timeout, 1e-6))  # no real machine does anything in no time
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, machine: Machine) -> None:
        jumps = _Jumps()
        jumps.machine = machine
        self._machine = machine
        super().__init__(jumps)

    def time(self) -> float:
        return self._machine.now
