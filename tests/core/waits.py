"""Waits for runs of a simulated service, alone or over one connection, played in no time."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from empirical_provider import EmpiricalError, TestRun, TestRunState, await_for_test_run
from empirical_provider.polling import Poller, SharedClient
from empirical_provider.request import TestRunRequest
from tests.core.simulation import Service
from tests.core.timelapse import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INTERVAL = 10.0
STAGING = TestRunRequest(environment="staging")


@asynccontextmanager
async def alone(client: Client, run_id: int) -> AsyncIterator[Client]:
    """Wait with a client of one's own."""
    del run_id
    yield client


class Shared:
    """Waits that share a client."""

    def __init__(self) -> None:
        self._poller: Poller | None = None

    @asynccontextmanager
    async def __call__(self, client: Client, run_id: int) -> AsyncIterator[SharedClient]:
        self._poller = self._poller or Poller(client)  # type: ignore[arg-type]
        yield SharedClient(self._poller, run_id)


@dataclass(frozen=True)
class Plan:
    """A wait, and what becomes of its run: all times are seconds of the simulation."""

    begins: float
    ends: float
    outcome: str
    """A state to put the run into, or ``deleted``, or ``never``."""
    leaves: float | None = None
    """When the wait is cancelled."""
    starts: float = 0.0
    """When the run leaves the queue."""
    timeout: float = 600.0
    elapsed: float = 0.0
    """What was waited before, in another process, by a wall clock that may have stepped."""
    start_timeout: float | None = None

    @property
    def deadline(self) -> float:
        """When the last poll is due."""
        return self.begins + max(0.0, self.timeout - self.elapsed)


class End(NamedTuple):
    """What a wait came to, and when."""

    text: str
    at: float

    @property
    def outcome(self) -> str:
        return self.text.partition(" ")[0]


async def ending(client: Any, make: Any, plan: Plan, run_id: int) -> End:
    """Wait as planned."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(plan.begins)

    async def wait() -> str:
        async with make(client, run_id) as mine:
            try:
                verdict = await await_for_test_run(
                    mine,
                    run_id,
                    poll_interval=INTERVAL,
                    timeout=plan.timeout,
                    elapsed=plan.elapsed,
                    start_timeout=plan.start_timeout,
                )
            except EmpiricalError as error:
                return type(error).__name__
        return f"{verdict.outcome} {verdict.counts} {verdict.failed_tests}"

    task = asyncio.ensure_future(wait())
    if plan.leaves is not None:
        loop.call_later(plan.leaves, task.cancel)
    try:
        return End(await task, loop.time())
    except asyncio.CancelledError:
        return End("cancelled", loop.time())


async def scene(
    plans: list[Plan],
    make: Any,
    *,
    others: int = 0,
    faults: Any = (),
    seed: int = 0,
    lag: float = 0.0,
    behind: float = 0.0,
    client: type[Client] = Client,
) -> tuple[list[End], Client]:
    """Play all waits.

    Args:
        plans: What is waited for.
        make: `alone` or a `Shared`.
        others: Runs of others at most, between two of ours.
        faults: As for `Client`, or a function that makes them of the ids of the runs.
        seed: For the number of others.
        lag: Seconds for which lists do not show a new run.
        behind: Seconds for which lists show a run that has ended as running.
        client: Class of the client.
    """
    service = Service(list_lag=lag)
    # Only the detail of a run names its failed tests.
    service.state.script({"environment": "staging", "outcome": "failed", "failed": 2})
    runs = []
    draw = random.Random(seed)  # noqa: S311  # no secret
    for _plan in plans:
        for _ in range(draw.randint(0, others)):
            service.state.trigger(STAGING.body())
        runs.append(service.state.trigger(STAGING.body()))
    loop = asyncio.get_running_loop()
    ours = {run.id: plan for plan, run in zip(plans, runs, strict=True)}
    for run in service.runs:
        plan = ours.get(run.id)
        if plan is None or plan.starts == 0:
            service.state.force(run.id, "started")
        elif plan.starts < plan.ends:
            loop.call_later(plan.starts, service.state.force, run.id, "started")
        if plan is not None and plan.outcome == "deleted":
            loop.call_later(plan.ends, service.state.delete, run.id)
        elif plan is not None and plan.outcome != "never":
            loop.call_later(plan.ends, service.state.force, run.id, plan.outcome)

    def as_listed(run: TestRun, now: float) -> TestRun:
        plan = ours.get(run.id)
        if plan is None or not run.state.is_terminal or now >= plan.ends + behind:
            return run
        return replace(run, state=TestRunState.STARTED)

    made = client(
        service,
        faults([run.id for run in runs]) if callable(faults) else list(faults),
        as_listed=as_listed if behind else None,
    )
    waits = [ending(made, make, plan, run.id) for plan, run in zip(plans, runs, strict=True)]
    return await asyncio.gather(*waits), made
