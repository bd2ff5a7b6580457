"""Hours of waiting in a moment: an event loop whose time jumps, and a client for it."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from empirical_provider import TestRun, endpoints
from empirical_provider.outcomes import result_of
from empirical_provider.receiving import Answer
from tests.core.simulation import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.core.simulation import Service


class _Jumps(selectors.DefaultSelector):
    """Lets time pass at once, where a loop would wait for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for somebody else"
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop in which time takes no time."""

    def __init__(self) -> None:
        self.jumps = _Jumps()
        super().__init__(self.jumps)

    def time(self) -> float:
        return self.jumps.now


def played(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop in which time takes no time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(scene)


HANGS = 15.0
"""Seconds after which a client gives up a request that hangs."""


@dataclass
class Client:
    """An async client of a service without a network; each request takes a tenth of a second."""

    service: Service
    faults: list[tuple[float, float, str, str]] = field(default_factory=list)
    """From when to when which requests (``list``, ``get``, ``get 7`` or ``all``) fail, and how: as
    the service does by itself, with a status, or by a response that never comes (``hang``)."""
    asked: Counter[str] = field(default_factory=Counter)
    closed: bool = False
    as_listed: Callable[[TestRun, float], TestRun] | None = None
    """What a list makes of a run: lists and pages may move apart."""

    def __post_init__(self) -> None:
        self._start = self.service.now

    _sleep = staticmethod(asyncio.sleep)

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    def with_url(self, run: TestRun) -> TestRun:
        return run

    async def aclose(self) -> None:
        self.closed = True

    async def _send(self, call: Any, *, retry_for: float | None = None) -> Any:
        assert retry_for == 0
        kind = "get" if call.run_id else "list"
        self.asked[kind] += 1
        await asyncio.sleep(0.1)
        now = self._clock()
        self.service.now = self._start + now
        for since, until, what, fault in self.faults:
            if since <= now < until and what in {kind, "all", f"get {call.run_id}"}:
                return await self._fail(call, fault)
        found = self.service.perform(call)
        if self.as_listed is not None and isinstance(found, endpoints.Sighting):
            runs = {run_id: self.as_listed(run, now) for run_id, run in found.runs.items()}
            found = replace(found, runs=runs)
        return found

    async def _fail(self, call: Any, fault: str) -> Any:
        if fault.isdigit():
            headers = {"retry-after": "86400"} if fault == "429" else {}
            return result_of(SETTINGS, call, Answer(int(fault), headers, b"{}"))
        if fault == "hang":
            await asyncio.sleep(HANGS)
            fault = "lost before"
        return self.service.perform(call, fault)

    async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> TestRun:
        run: TestRun = await self._send(endpoints.get_test_run(run_id), retry_for=retry_for)
        return run
