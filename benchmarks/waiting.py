"""What it costs to wait for many runs in one process, as a triggerer does: run by `bench.py`.

`python waiting.py SUBJECT WAITS INTERVAL PORT` prints its figures as JSON. The waits begin evenly
over one interval; after a second one, two intervals are measured; then a twentieth of the runs end,
evenly over two more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil

ROUNDS = 2
"""Intervals that are measured, and over which runs end."""

_EVERY = 20
"""Of so many waits, one ends while the delay of events is measured."""

Make = Callable[[int], Any]


def ours(interval: float, port: int) -> Make:
    """Return what makes our trigger for a run."""
    from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger

    os.environ["AIRFLOW_CONN_EMPIRICAL_DEFAULT"] = json.dumps(
        {"conn_type": "empirical", "host": f"https://localhost:{port}", "password": "a-key",
         "extra": {"project_slug": "acme"}}
    )  # fmt: skip
    now = time.time()
    return lambda run_id: EmpiricalTestRunTrigger(
        test_run_id=run_id,
        empirical_conn_id="empirical_default",
        started_at=now,
        deadline=now + 7200,
        poll_interval=interval,
    )


def dbt_cloud(interval: float, port: int) -> Make:
    """Return what makes dbt Cloud's trigger for a run."""
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    os.environ["AIRFLOW_CONN_DBT_CLOUD_DEFAULT"] = json.dumps(
        {"conn_type": "dbt_cloud", "host": f"localhost:{port}", "login": "1", "password": "a-key"}
    )
    end = time.time() + 7200
    return lambda run_id: DbtCloudRunJobTrigger(
        conn_id="dbt_cloud_default", run_id=run_id, end_time=end, poll_interval=interval,
        account_id=1,
    )  # fmt: skip


SUBJECTS: dict[str, Callable[[float, int], Make]] = {"ours": ours, "dbt-cloud": dbt_cloud}


class Control:
    """The service, as the one that measures sees it; its own requests are not counted."""

    def __init__(self, port: int) -> None:
        alive = httpx.Limits(keepalive_expiry=70)  # else it would be counted again and again
        self._http = httpx.Client(base_url=f"https://localhost:{port}/bench", limits=alive)

    def plan(self, runs: list[tuple[int, float | None]]) -> None:
        self._http.post("/plan", json=runs).raise_for_status()

    def more(self, runs: list[tuple[int, float | None]]) -> None:
        self._http.post("/more", json=runs).raise_for_status()

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self._http.get("/stats").json()
        return stats


async def fired(trigger: Any) -> tuple[float, Any]:
    """Return when a trigger's one event came, and the event."""
    async for event in trigger.run():
        return time.time(), event
    raise AssertionError("The trigger has ended without an event.")


async def measured(make: Make, waits: int, interval: float, control: Control) -> dict[str, Any]:
    warm = range(waits + 1, waits + 4)
    control.plan([*((n, None) for n in range(1, waits + 1)), *((n, 0.0) for n in warm)])
    await asyncio.gather(*(fired(make(n)) for n in warm))
    control.plan([(n, None) for n in range(1, waits + 1)])
    gc.collect()
    process = psutil.Process()
    memory = process.memory_info().rss

    async def wait(n: int) -> tuple[float, Any]:
        await asyncio.sleep(interval * n / waits)
        return await fired(make(n))

    tasks = {n: asyncio.create_task(wait(n)) for n in range(1, waits + 1)}
    await asyncio.sleep(2 * interval)
    began, spent = time.time(), time.process_time()
    await asyncio.sleep(ROUNDS * interval)
    lasted, spent = time.time() - began, time.process_time() - spent
    gc.collect()
    memory = process.memory_info().rss - memory
    stats = control.stats()
    asked = [each for each in stats["asked"] if began <= each[0] < began + lasted]

    ending = range(_EVERY, waits + 1, _EVERY)
    first = time.time() + 0.2
    ends = {n: first + ROUNDS * interval * k / len(ending) for k, n in enumerate(ending)}
    control.more([*ends.items()])
    done = await asyncio.gather(*(tasks.pop(n) for n in ending))
    delays = [at - ends[n] for n, (at, _) in zip(ending, done, strict=True)]
    wrong = [event.payload for _, event in done if not is_good(event.payload)]
    assert not wrong, f"events that should not be: {wrong[:3]}"
    stats = control.stats()
    for task in tasks.values():
        assert not task.done(), f"a wait has ended that should go on: {task}"
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    rounds = lasted / interval
    return {
        "requests": len(asked) / rounds,
        "connections": stats["connections"],
        "cpu": spent / rounds / waits,
        "core": spent / lasted,
        "memory": memory / waits,
        "longest": longest_round(stats["asked"]),
        "delays": sorted(delays),
    }


def is_good(payload: dict[str, Any]) -> bool:
    """Tell whether an event says that the run has ended well, by either's words."""
    verdict = payload.get("verdict") or {}
    return payload["status"] == "success" or verdict.get("outcome") == "passed"


def longest_round(asked: list[list[Any]]) -> float:
    """Return the seconds from a first page to the last request before the next first page."""
    longest, began, last = 0.0, None, 0.0
    for at, kind, page in asked:
        if kind == "list" and page == 1:
            longest = max(longest, last - began) if began else longest
            began = at
        last = at
    return longest


def main() -> None:
    subject, waits, interval, port = sys.argv[1:]
    make = SUBJECTS[subject](float(interval), int(port))
    figures = asyncio.run(measured(make, int(waits), float(interval), Control(int(port))))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
