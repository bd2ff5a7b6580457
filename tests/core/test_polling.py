"""One poll for many waits: it asks for less, and every wait ends as it would have alone."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import (
    AsyncEmpiricalClient,
    AuthenticationError,
    RateLimitedError,
    ServerError,
    TestRunState,
    await_for_test_run,
    endpoints,
    polling,
)
from empirical_provider.polling import shared_client
from tests.core.simulation import Service
from tests.core.timelapse import HANGS, Client, played
from tests.core.waits import INTERVAL, STAGING, End, Plan, Shared, alone, ending, scene
from tests.examples import examples

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

FOR_EVER = math.inf

PLANS = st.builds(
    Plan,
    begins=st.floats(0, 200),
    ends=st.floats(0, 300),
    outcome=st.sampled_from(["ended", "error", "cancelled", "deleted", "never"]),
    leaves=st.none() | st.floats(1, 200).filter(lambda at: at % 10 > 5),
)


def windows(longest: float, what: list[str], how: list[str]) -> Any:
    """Return faults that last for a while each."""
    return st.tuples(
        st.floats(0, 300), st.floats(0, longest), st.sampled_from(what), st.sampled_from(how)
    ).map(lambda each: (each[0], each[0] + each[1], *each[2:]))


OUTAGES = ["refused", "lost before", "500 before", "429", "503"]
REFUSALS = ["401", "403", "302"]
NO_LIST = st.none() | st.sampled_from([*OUTAGES, *REFUSALS, "404", "hang"])
"""What the list does for ever, if not its work."""


@pytest.mark.seconds
@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=12),
    others=st.sampled_from([0, 3, 60]),
    faults=st.lists(windows(60, ["list", "get", "all"], OUTAGES), max_size=3),
    refusals=st.lists(windows(45, ["list", "get", "all"], REFUSALS), max_size=1),
    seed=st.integers(0, 5),
    lag=st.sampled_from([0.0, 45.0]),
    behind=st.sampled_from([0.0, 30.0, FOR_EVER]),
    no_list=NO_LIST,
)
def test_each_wait_ends_as_it_would_alone(
    *,
    plans: list[Plan],
    others: int,
    faults: list[Any],
    refusals: list[Any],
    seed: int,
    lag: float,
    behind: float,
    no_list: str | None,
) -> None:
    """Whatever runs, faults, lists and cancellations there are, sharing changes no end."""
    for_ever = [] if no_list is None else [(0.0, FOR_EVER, "list", no_list)]
    world: dict[str, Any] = {"others": others, "seed": seed, "lag": lag, "behind": behind}
    world["faults"] = [*faults, *refusals, *for_ever]
    single, _ = played(scene(plans, alone, **world))
    shared, _ = played(scene(plans, Shared(), **world))
    for plan, one, other in zip(plans, single, shared, strict=True):
        if plan.leaves is not None and "cancelled" in {one.text, other.text}:
            continue  # it left about when the run ended: either may come first
        assert one.text == other.text


TRUTH = {"ended": "failed", "error": "error", "cancelled": "cancelled", "never": "timed_out"}
SLACK = 0.5
REQUEST = 20.0
"""Seconds that a request may take, as the poller has it."""

IN_TIME = st.builds(
    Plan,
    begins=st.floats(0, 100),
    ends=st.floats(0, 300),
    outcome=st.sampled_from([*TRUTH]),
    starts=st.sampled_from([0.0, 0.0, 40.0, 150.0]),
    timeout=st.sampled_from([25.0, 60.0, 200.0, 400.0]),
    elapsed=st.sampled_from([0.0, 0.0, 50.0, 190.0, 5000.0]),
    start_timeout=st.sampled_from([None, 30.0]),
)


@pytest.mark.seconds
@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    plans=st.lists(IN_TIME, min_size=1, max_size=12),
    faults=st.lists(windows(50, ["list", "get", "all"], [*OUTAGES, "hang"]), max_size=3),
    refusals=st.lists(windows(50, ["list", "get", "all"], [*REFUSALS, "404"]), max_size=1),
    hung=st.sets(st.integers(0, 11), max_size=8),
    behind=st.sampled_from([0.0, 30.0, FOR_EVER]),
    no_list=NO_LIST,
)
def test_no_wait_is_late_and_none_is_wrong(
    *,
    plans: list[Plan],
    faults: list[Any],
    refusals: list[Any],
    hung: set[int],
    behind: float,
    no_list: str | None,
) -> None:
    """A wait whose page can be read at its deadline tells the truth, and none is late.

    Whatever the list, the other waits and their pages do meanwhile.
    """

    def all_faults(ids: list[int]) -> list[Any]:
        hang = [(0.0, FOR_EVER, f"get {ids[each]}", "hang") for each in hung if each < len(ids)]
        return [*hang, *faults, *refusals, *for_ever]

    for_ever = [] if no_list is None else [(0.0, FOR_EVER, "list", no_list)]
    ends, _ = played(scene(plans, Shared(), faults=all_faults, behind=behind))
    of_pages = [each for each in (*faults, *refusals) if each[2] != "list"]
    for place, (plan, end) in enumerate(zip(plans, ends, strict=True)):
        assert end.at <= plan.deadline + REQUEST + SLACK
        can_be_read = place not in hung and not any(
            since - SLACK <= plan.deadline <= until + SLACK for since, until, *_ in of_pages
        )
        is_over = plan.outcome != "never" and plan.ends < plan.deadline - SLACK
        goes_on = plan.outcome == "never" or plan.ends > plan.deadline + REQUEST + SLACK
        if end.outcome == "timed_out":
            started = min(plan.starts, plan.ends if plan.outcome != "never" else FOR_EVER)
            is_early = end.at < plan.deadline - SLACK
            if is_early:
                assert plan.start_timeout is not None
                assert started > end.at - SLACK
            else:
                assert not (can_be_read and is_over)
        else:
            assert end.outcome == TRUTH[plan.outcome]
            assert not goes_on


LISTS_OF_NO_USE = [*OUTAGES, *REFUSALS, "404", "hang"]


def ended(plans: list[Plan], **world: Any) -> list[End]:
    """Return what came of waits that share a connection."""
    ends, _ = played(scene(plans, Shared(), **world))
    return ends  # type: ignore[no-any-return]


@pytest.mark.parametrize("no_list", LISTS_OF_NO_USE)
@pytest.mark.parametrize("since", [0.0, 95.0])
def test_a_list_that_fails_costs_no_verdict(no_list: str, since: float) -> None:
    """The list is an economy: where it fails, or is forbidden, pages decide, and soon."""
    plans = [Plan(0, 100.0, "ended") for _ in range(20)]
    ends = ended(plans, faults=[(since, FOR_EVER, "list", no_list)])
    assert {end.outcome for end in ends} == {"failed"}
    soon = 2 * INTERVAL if no_list != "429" else 60 + 2 * INTERVAL
    assert max(end.at for end in ends) <= 100 + soon


def test_a_list_that_is_behind_does_not_time_out_those_who_share_it() -> None:
    """Where a list shows ended runs as running for ever, pages are read now and then."""
    plans = [Plan(0, 100.0 + index, "ended", timeout=7200.0) for index in range(20)]
    ends = ended(plans, behind=FOR_EVER)
    assert {end.outcome for end in ends} == {"failed"}
    assert max(end.at for end in ends) <= 750


@pytest.mark.parametrize("how", ["hang", "429", "500 before", "403"])
@pytest.mark.parametrize("what", ["list", "get"])
def test_the_last_poll_is_the_run_s_own_page_at_the_deadline(how: str, what: str) -> None:
    """Nothing postpones it: no list, no page of another run, no pause that was asked for."""

    def faults(ids: list[int]) -> list[Any]:
        if what == "list":
            return [(0.0, FOR_EVER, "list", how)]
        return [(0.0, FOR_EVER, f"get {run_id}", how) for run_id in ids[1:]]

    mine = Plan(0, 94.9, "ended", timeout=95.0)
    others = [Plan(index * 0.3, 50.0, "ended", timeout=120.0) for index in range(40)]
    first = ended([mine, *others], faults=faults, behind=FOR_EVER if what == "list" else 0.0)[0]
    assert first.outcome == "failed"
    assert first.at <= 95 + SLACK


@pytest.mark.parametrize("kind", ["shared", "alone"])
@pytest.mark.parametrize("how", [*OUTAGES, "hang"])
def test_a_wait_ends_one_request_after_its_deadline(how: str, kind: str) -> None:
    """Where nothing can be read, either, each wait ends in time."""
    plans = [Plan(index, 0, "ended", timeout=60.0 + 7 * index) for index in range(12)]
    make = Shared() if kind == "shared" else alone
    ends, _ = played(scene(plans, make, faults=[(0.0, FOR_EVER, "all", how)]))
    for plan, end in zip(plans, ends, strict=True):
        assert end.outcome == "timed_out"
        assert plan.deadline <= end.at <= plan.deadline + HANGS + SLACK


@pytest.mark.parametrize("how", ["hang", "429", "500 before", "401"])
def test_pages_that_fail_do_not_make_their_neighbours_late(how: str) -> None:
    """Ten runs whose pages hang or fail are no business of the others, not even the first time."""

    def faults(ids: list[int]) -> list[Any]:
        return [(0.0, FOR_EVER, f"get {run_id}", how) for run_id in ids[:10]]

    plans = [Plan(0, 50.0 + index % 10, "ended", timeout=150.0) for index in range(30)]
    ends = ended(plans, faults=faults)[10:]
    assert {end.outcome for end in ends} == {"failed"}
    late = max(end.at - plan.ends for end, plan in zip(ends, plans[10:], strict=True))
    assert late <= 1.1 * INTERVAL + (61 if how == "429" else 3)


def test_a_page_that_asks_for_a_day_of_rest_does_not_starve_the_others() -> None:
    """The others rest for a minute at the most, and only once."""

    def faults(ids: list[int]) -> list[Any]:
        return [(0.0, FOR_EVER, f"get {ids[0]}", "429")]

    plans = [Plan(0, 50.0, "ended"), *(Plan(0, 100.0 + 7 * index, "ended") for index in range(40))]
    ends = ended(plans, faults=faults)
    assert ends[0].outcome == "timed_out"
    late = [end.at - plan.ends for end, plan in zip(ends[1:], plans[1:], strict=True)]
    assert sum(each > 2 * INTERVAL for each in late) <= 10
    assert max(late) <= 60 + 2 * INTERVAL


def test_the_start_limit_goes_by_the_run_s_own_page() -> None:
    """A list that still shows a run queued does not end its wait as not started."""

    class Behind(Client):
        async def _send(self, call: Any, *, retry_for: float | None = None) -> Any:
            found = await super()._send(call, retry_for=retry_for)
            if isinstance(found, endpoints.Sighting):
                queued = {
                    run_id: replace(run, state=TestRunState.QUEUED)
                    for run_id, run in found.runs.items()
                }
                return replace(found, runs=queued)
            return found

    late = [Plan(0, 200.0, "ended", starts=25.0, start_timeout=30.0) for _ in range(5)]
    after_a_restart = [
        Plan(100.0, 200.0, "ended", elapsed=100.0, start_timeout=30.0) for _ in range(5)
    ]
    stuck = [Plan(0, 200.0, "ended", starts=150.0, start_timeout=30.0) for _ in range(5)]
    ends = ended([*late, *after_a_restart, *stuck], client=Behind)
    assert [end.outcome for end in ends] == [*["failed"] * 10, *["timed_out"] * 5]
    assert all(30 <= end.at <= 32 for end in ends[10:])


@pytest.mark.seconds
def test_an_outage_is_not_made_worse() -> None:
    """In an outage many waits ask for little, and all have their verdict soon after."""
    plans = [Plan(0.0, 300.0, "ended", timeout=7200.0) for _ in range(300)]
    ends, client = played(scene(plans, Shared(), faults=[(100.0, 700.0, "all", "503")]))
    assert {end.outcome for end in ends} == {"failed"}
    assert max(end.at for end in ends) <= 700 + 3 * INTERVAL
    in_the_outage = client.asked["get"] - 300
    assert in_the_outage <= 300 + 600 + 100  # alone they would ask 18,000 times


@pytest.mark.seconds
def test_a_thousand_waits_ask_for_ten_pages() -> None:
    """A thousand waits take a dozen requests a round, and end within a round of their run."""
    plans = [Plan(0.0, 300.0 + index / 100, "ended") for index in range(1000)]
    ends, client = played(scene(plans, Shared()))
    assert len(ends) == 1000
    rounds = client.asked["list"] / 10
    assert 25 <= rounds <= 45
    assert client.asked["get"] <= 1000 + 20
    late = max(end.at - plan.ends for end, plan in zip(ends, plans, strict=True))
    assert late <= 1.5 * INTERVAL


@pytest.mark.seconds
def test_waits_that_begin_one_by_one_come_to_share_lists() -> None:
    """Waits that begin over a minute need few more requests than waits that begin at once."""
    plans = [Plan(index * 0.2, 360.0, "ended") for index in range(300)]
    _, client = played(scene(plans, Shared()))
    assert client.asked["list"] / 3 <= 60
    assert client.asked["get"] <= 2 * 300 + 50  # the first poll of each, and the last


@pytest.mark.seconds
def test_a_list_that_did_not_help_a_few_is_tried_again_for_many() -> None:
    """Waits that begin one after the other come to share rounds, however little lists help then."""
    few = [Plan(0.0, 300.0, "ended") for _ in range(4)]
    many = [Plan(60.0 + index / 100, 300.0, "ended") for index in range(400)]
    _, client = played(scene([*few, *many], Shared(), others=3, seed=1))
    # The last poll of each, and some while lists rest: alone they would ask 10,000 times.
    assert client.asked["get"] <= 3 * 404


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
        plans = [ending(client, make, Plan(0, 0, "never"), run.id) for run in runs]
        assert all(end.outcome == "passed" for end in await asyncio.gather(*plans))
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
            ending(client, make, Plan(7.0 * index, 0, "never"), run.id)
            for index, run in enumerate(runs)
        ]
        await asyncio.gather(*plans)
        return asked

    asked = played(wait())
    assert len([at for at in asked if 20 < at < 60]) == 1
    assert len([at for at in asked if 60 <= at < 75]) >= 1


def test_a_run_that_may_not_be_read_ends_its_own_wait_alone() -> None:
    """A page that is refused for a minute, whatever the status, is no trouble of the others."""

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
        plans = [ending(client, make, Plan(0, 0, "never"), run.id) for run in runs]
        return [end.outcome for end in await asyncio.gather(*plans)]

    for status in (401, 403):
        assert played(wait(status)) == ["AuthenticationError", "passed", "passed"]


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
        plans = [ending(client, make, Plan(0, 0, "never"), run.id) for run in runs]
        ends = [asyncio.ensure_future(each) for each in plans]
        done, _ = await asyncio.wait(ends, timeout=100.0)
        assert done == set(ends[3:])
        return [end.outcome for end in await asyncio.gather(*ends)]

    assert played(wait()) == ["timed_out"] * 3 + ["passed"] * 2


def test_waits_of_one_connection_share_one_client(
    empirical: Emulator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty waits take one connection, the last one closes it, and another key is apart."""
    monkeypatch.setattr("empirical_provider.looking._PATIENCE", 60.0)  # the service is quick
    monkeypatch.setattr("empirical_provider.wait._GRACE", 0.0)

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
