"""A day of waiting, in simulated time: memory does not grow with the hours.

Of the day, eight hours are simulated unless all examples are tried.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import TestRunState, await_for_test_run
from empirical_provider.ended_runs import Cursor, alook_for_ended_runs
from empirical_provider.polling import Poller, SharedClient
from tests.core.simulation import Service
from tests.core.timelapse import Client, played
from tests.examples import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

HOUR = 3600.0
HOURS = 24 if THOROUGH else 8
DAY = HOURS * HOUR
WAITS = 5
BODY = {"environment": "staging"}
ROOM = 64 * 1024
"""Bytes by which what is held may differ between two hours: caches and dicts breathe."""


@pytest.fixture
def tracing() -> Iterator[None]:
    """Have allocations traced."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    """Return the bytes that are held now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def hourly(readings: list[int]) -> None:
    """Read every hour how much is held, until a minute after the day."""
    for _ in range(HOURS):
        await asyncio.sleep(HOUR)
        readings.append(held())


def grown(readings: list[int]) -> int:
    """Return by how much more is held at the end than after the first hours."""
    return max(readings[-3:]) - max(readings[1:4])


@pytest.mark.usefixtures("tracing")
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "alone"])
def test_waits_hold_no_more_after_a_day(shared: bool) -> None:
    """Waits that look every minute hold as much after a day as after some hours."""
    service = Service()
    service.state.script({**BODY, "outcome": "stuck"})
    runs = [service.state.trigger(dict(BODY)) for _ in range(WAITS)]
    readings: list[int] = []

    async def scene() -> list[Any]:
        client: Any = Client(service)
        poller = Poller(client)
        reading = asyncio.create_task(hourly(readings))
        waits = [
            await_for_test_run(
                SharedClient(poller, run.id) if shared else client,  # type: ignore[arg-type]
                run.id,
                poll_interval=60.0,
                timeout=DAY + 60,
            )
            for run in runs
        ]
        verdicts = await asyncio.gather(*waits)
        await reading
        return verdicts

    verdicts = played(scene())
    assert {each.outcome for each in verdicts} == {"timed_out"}
    assert len(readings) == HOURS
    assert grown(readings) < ROOM, readings


@pytest.mark.usefixtures("tracing")
def test_a_watcher_holds_no_more_after_a_day() -> None:
    """Of runs that come and go every ten minutes a watcher keeps those of the last minutes."""
    service = Service()
    readings: list[int] = []
    told: list[int] = []

    async def play() -> None:
        while True:
            await asyncio.sleep(600)
            run = service.state.trigger(dict(BODY))
            service.state.force(run.id, TestRunState.ENDED)

    async def watch() -> Cursor:
        client: Any = Client(service)
        cursor = Cursor.start(await alook_for_ended_runs(client, [None]))
        for _ in range(int(DAY // 120)):
            await asyncio.sleep(120)
            look = await alook_for_ended_runs(client, [cursor])
            told.extend(run.id for run in cursor.news(look))
            cursor = cursor.after(look)
        return cursor

    async def scene() -> Cursor:
        playing, reading = asyncio.create_task(play()), asyncio.create_task(hourly(readings))
        cursor = await watch()
        await reading
        playing.cancel()
        return cursor

    cursor = played(scene())
    assert len(told) == len(set(told)) >= HOURS * 6 - 4
    assert len(cursor.told) + len(cursor.open) < 5
    held_by_the_service = HOURS * 6 * 8 * 1024  # its runs are never thrown away
    assert grown(readings) < held_by_the_service, readings
