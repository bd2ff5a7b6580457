"""One poll for many waits: it asks for less, and every wait ends as it would have alone."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import (
    AsyncEmpiricalClient,
    AuthenticationError,
    EmpiricalError,
    RateLimitedError,
    ServerError,
    TestRunState,
    await_for_test_run,
    endpoints,
    polling,
)
from empirical_provider.polling import Poller, SharedClient, shared_client
from empirical_provider.request import TestRunRequest
from tests.core.simulation import Service
from tests.core.timelapse import Client, played
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from empirical_provider.emulator import Emulator

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
    leaves: float | None
    """When the wait is cancelled."""


async def ending(client: Any, make: Any, plan: Plan, run_id: int) -> str:
    """Wait as planned; return what it came to."""
    await asyncio.sleep(plan.begins)

    async def wait() -> str:
        async with make(client, run_id) as mine:
            try:
                verdict = await await_for_test_run(
                    mine, run_id, poll_interval=INTERVAL, timeout=600.0
                )
            except EmpiricalError as error:
                return type(error).__name__
        return f"{verdict.outcome} {verdict.counts} {verdict.failed_tests}"

    task = asyncio.ensure_future(wait())
    if plan.leaves is not None:
        asyncio.get_running_loop().call_later(plan.leaves, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"


async def scene(
    plans: list[Plan], others: int, faults: list[Any], seed: int, make: Any, *, lag: float = 0.0
) -> Any:
    """Play all waits; return what each came to, and how often the service was asked."""
    service = Service(list_lag=lag)
    # Only the detail of a run names its failed tests.
    service.state.script({"environment": "staging", "outcome": "failed", "failed": 2})
    runs = []
    draw = random.Random(seed)  # noqa: S311  # no secret
    for _plan in plans:
        for _ in range(draw.randint(0, others)):
            service.state.trigger(STAGING.body())
        runs.append(service.state.trigger(STAGING.body()))
    for run in service.runs:
        service.state.force(run.id, "started")
    client = Client(service, faults)
    loop = asyncio.get_running_loop()
    for plan, run in zip(plans, runs, strict=True):
        if plan.outcome == "deleted":
            loop.call_later(plan.ends, service.state.delete, run.id)
        elif plan.outcome != "never":
            loop.call_later(plan.ends, service.state.force, run.id, plan.outcome)
    waits = [ending(client, make, plan, run.id) for plan, run in zip(plans, runs, strict=True)]
    return await asyncio.gather(*waits), client.asked


PLANS = st.builds(
    Plan,
    begins=st.floats(0, 60),
    ends=st.floats(0, 300),
    outcome=st.sampled_from(["ended", "error", "cancelled", "deleted", "never"]),
    leaves=st.none() | st.floats(1, 200).filter(lambda at: at % 10 > 5),
)
FAULTS = st.lists(
    st.tuples(
        st.floats(0, 300),
        st.floats(0, 60),
        st.sampled_from(["list", "get", "all"]),
        st.sampled_from(["refused", "lost before", "500 before"]),
    ).map(lambda each: (each[0], each[0] + each[1], *each[2:])),
    max_size=3,
)


@pytest.mark.seconds
@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=12),
    others=st.sampled_from([0, 3, 60]),
    faults=FAULTS,
    seed=st.integers(0, 5),
    lag=st.sampled_from([0.0, 45.0]),
)
def test_each_wait_ends_as_it_would_alone(
    plans: list[Plan], others: int, faults: list[Any], seed: int, lag: float
) -> None:
    """Whatever runs, faults and cancellations there are, a shared poll gives the same events."""
    single, _ = played(scene(plans, others, faults, seed, alone, lag=lag))
    shared, _ = played(scene(plans, others, faults, seed, Shared(), lag=lag))
    for plan, one, other in zip(plans, single, shared, strict=True):
        if plan.leaves is not None and "cancelled" in {one, other}:
            continue  # it left about when the run ended: either may come first
        assert one == other


@pytest.mark.seconds
def test_a_thousand_waits_ask_for_ten_pages() -> None:
    """A thousand waits take a dozen requests a round, and end within a round of their run."""
    plans = [Plan(0.0, 300.0 + index / 100, "ended", None) for index in range(1000)]
    ends, asked = played(scene(plans, 0, [], 0, Shared()))
    assert len(ends) == 1000
    rounds = asked["list"] / 10
    assert 25 <= rounds <= 45
    assert asked["get"] <= 1000 + 20


@pytest.mark.seconds
def test_a_list_that_did_not_help_a_few_is_tried_again_for_many() -> None:
    """Waits that begin one after the other come to share rounds, however little lists help then."""
    few = [Plan(0.0, 300.0, "ended", None) for _ in range(4)]
    many = [Plan(60.0 + index / 100, 300.0, "ended", None) for index in range(400)]
    _, asked = played(scene([*few, *many], 3, [], 1, Shared()))
    assert asked["get"] <= 1.5 * 404  # the last look at each, and some in between


def test_a_list_without_states_is_of_no_use() -> None:
    """Where a list does not tell states, runs are read one by one, and lists are tried rarely."""

    class Stateless(Client):
        async def _send(self, call: Any, *, retry_for: float | None = None) -> Any:
            found = await super()._send(call, retry_for=retry_for)
            if isinstance(found, endpoints.Sighting):
                unknown = {
                    run_id: replace(run, state=TestRunState("unknown"))
                    for run_id, run in found.runs.items()
                }
                return replace(found, runs=unknown)
            return found

    async def wait() -> Client:
        service = Service()
        runs = [service.state.trigger(STAGING.body()) for _ in range(8)]
        client = Stateless(service)
        asyncio.get_running_loop().call_later(
            400, lambda: [service.state.force(run.id, "ended") for run in runs]
        )
        make = Shared()
        plans = [ending(client, make, Plan(0, 0, "never", None), run.id) for run in runs]
        assert all(end.startswith("passed") for end in await asyncio.gather(*plans))
        return client

    client = played(wait())
    assert client.asked["get"] >= 8 * 35
    assert client.asked["list"] <= 8


def test_a_rate_limit_holds_all_off_together() -> None:
    """After 429 nobody asks until the service wants to be asked again, whoever comes meanwhile."""

    async def wait() -> list[float]:
        service = Service()
        runs = [service.state.trigger(STAGING.body()) for _ in range(6)]
        asked: list[float] = []

        class Limited(Client):
            async def _send(self, call: Any, *, retry_for: float | None = None) -> Any:
                asked.append(self._clock())
                if 20 < self._clock() < 60:
                    raise RateLimitedError("429", status=429, retry_after=60 - self._clock())
                return await super()._send(call, retry_for=retry_for)

        client, make, loop = Limited(service), Shared(), asyncio.get_running_loop()
        loop.call_later(90, lambda: [service.state.force(run.id, "ended") for run in runs])
        plans = [
            ending(client, make, Plan(7.0 * index, 0, "never", None), run.id)
            for index, run in enumerate(runs)
        ]
        await asyncio.gather(*plans)
        return asked

    asked = played(wait())
    assert len([at for at in asked if 20 < at < 60]) == 1
    assert len([at for at in asked if 60 <= at < 75]) >= 1


def test_a_run_that_may_not_be_read_ends_its_own_wait_alone() -> None:
    """403 for one run, such as another project's, is no trouble of the others; 401 is of all."""

    async def wait(status: int) -> list[str]:
        service = Service()
        runs = [service.state.trigger(STAGING.body()) for _ in range(3)]

        class Refused(Client):
            async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> Any:
                if run_id == runs[0].id:
                    raise AuthenticationError(str(status), status=status)
                return await super().get_test_run(run_id, retry_for=retry_for)

        for run in runs:
            service.state.force(run.id, "ended")
        client, make = Refused(service), Shared()
        plans = [ending(client, make, Plan(0, 0, "never", None), run.id) for run in runs]
        return [end.partition(" ")[0] for end in await asyncio.gather(*plans)]

    assert played(wait(403)) == ["AuthenticationError", "passed", "passed"]
    assert played(wait(401)) == ["AuthenticationError"] * 3


def test_runs_that_cannot_be_read_do_not_hold_up_the_others() -> None:
    """Three runs that answer 500 for ever cost the other waits one round, and no more."""

    async def wait() -> list[str]:
        service = Service()
        runs = [service.state.trigger(STAGING.body()) for _ in range(5)]

        class Broken(Client):
            async def get_test_run(self, run_id: int, *, retry_for: float | None = None) -> Any:
                if run_id in {run.id for run in runs[:3]}:
                    raise ServerError("500", status=500)
                return await super().get_test_run(run_id, retry_for=retry_for)

        for run in runs:
            service.state.force(run.id, "ended")
        client, make = Broken(service), Shared()
        plans = [ending(client, make, Plan(0, 0, "never", None), run.id) for run in runs]
        ends = [asyncio.ensure_future(each) for each in plans]
        done, _ = await asyncio.wait(ends, timeout=100.0)
        assert done == set(ends[3:])
        return [end.partition(" ")[0] for end in await asyncio.gather(*ends)]

    assert played(wait()) == ["timed_out"] * 3 + ["passed"] * 2


def test_waits_of_one_connection_share_one_client(empirical: Emulator, api_key: str) -> None:
    """Twenty waits take one connection, the last one closes it, and another key is apart."""

    async def wait(run_id: int, **settings: Any) -> str:
        async with shared_client(run_id, base_url=empirical.url, **settings) as client:
            return str((await await_for_test_run(client, run_id, poll_interval=0.05)).outcome)

    async def all_of() -> list[str]:
        with_client = AsyncEmpiricalClient(api_key=api_key, base_url=empirical.url)
        async with with_client as client:
            ids = [(await client.trigger(STAGING)).id for _ in range(20)]
        before = empirical.connections
        found = await asyncio.gather(*(wait(run_id, api_key=api_key) for run_id in ids))
        assert empirical.connections - before == 1
        assert not polling._pollers[asyncio.get_running_loop()]
        with pytest.raises(AuthenticationError):
            await wait(ids[0], api_key="another")
        return found

    assert asyncio.run(all_of()) == ["passed"] * 20
