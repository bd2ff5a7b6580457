"""The watchers' trigger: what it stores, what it tells, and that watchers share their looks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, InvalidRequestError, TestRunRequest
from empirical_provider.airflow import triggers, watching
from empirical_provider.airflow.remembering import Memory
from empirical_provider.ended_runs import Cursor
from tests.airflow.standins import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from empirical_provider.airflow.event_trigger import EmpiricalTestRunEventTrigger
    from empirical_provider.emulator import Emulator

pytestmark = [
    pytest.mark.usefixtures("connection"),
    pytest.mark.skipif(AIRFLOW < (3, 0), reason="assets have watchers from Airflow 3.0 on"),
]
shares = pytest.mark.skipif(AIRFLOW < (3, 3), reason="watchers share a poll from Airflow 3.3 on")

SOON = 0.05


def watch(**fields: Any) -> EmpiricalTestRunEventTrigger:
    return triggers.EmpiricalTestRunEventTrigger(**{"poll_interval": SOON, **fields})


@pytest.fixture
def end(empirical: Emulator, api_key: str) -> Callable[..., int]:
    """Return a function that starts a run in an environment and lets it end."""

    def play(environment: str = "staging", outcome: str = "passed") -> int:
        empirical.script(environment, outcome)
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run_id = client.trigger(TestRunRequest(environment=environment)).id
        empirical.set_state(run_id, "ended")
        return run_id

    return play


class Store:
    """The state store of one asset, which needs a triggerer's supervisor."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.broken = False

    async def aget(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key: str, value: Any) -> None:
        if self.broken:
            raise ConnectionError("the store is away")
        self.values[key] = json.dumps(value)


class Triggerer:
    """What Airflow's triggerer does with a watcher's trigger, with its real shared streams."""

    def __init__(self) -> None:
        module = importlib.import_module("airflow.triggers.shared_stream")
        self._streams = module.SharedStreamManager()
        self._unconfirmed: list[int] = []
        self.events: list[tuple[int, dict[str, Any]]] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def start(self, trigger: Any, store: Store) -> int:
        trigger.asset_state_store = store
        number = len(self._tasks)
        self._tasks[number] = asyncio.create_task(self._run(number, trigger))
        return number

    async def _run(self, number: int, trigger: Any) -> None:
        key = trigger.shared_stream_key()
        stream = self._streams.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                seq = self._streams.bind_pending_event(trigger_id=number, key=key)
                self._unconfirmed.append(seq)
                self.events.append((number, event.payload))
        finally:
            await self._streams.unsubscribe(number, key)

    def confirm(self) -> None:
        """Say that all events by now are stored."""
        self._streams.confirm_persisted(self._unconfirmed)
        self._unconfirmed.clear()

    def told(self, number: int) -> list[int]:
        return [payload["run_id"] for each, payload in self.events if each == number]

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        for ended in await asyncio.gather(*self._tasks.values(), return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        await self._streams.stop_all()


@contextlib.asynccontextmanager
async def triggerer() -> AsyncIterator[Triggerer]:
    """Have a triggerer for a while."""
    one = Triggerer()
    try:
        yield one
    finally:
        await one.stop()


async def until(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something to see; fail when that takes too long."""
    deadline = time.monotonic() + 20
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        await asyncio.sleep(0.01)  # it is seen in other threads, which have no event to set
    return seen


def lists(empirical: Emulator) -> int:
    return sum(each.endpoint == "list_test_runs" for each in empirical.requests)


async def looked(empirical: Emulator, times: int = 2) -> None:
    """Wait until so many further lists were read."""
    seen = lists(empirical)
    await until(lambda: lists(empirical) >= seen + times, "further looks")


def played(scene: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scene)


def test_what_is_stored_is_plain_and_makes_the_same_trigger() -> None:
    """The arguments are JSON under a path that is public for ever, and make an equal trigger."""
    trigger = watch(environment="staging", outcome=["failed", "error"], policy={"min_tests": 5})
    path, kwargs = trigger.serialize()
    assert path == "empirical_provider.airflow.triggers.EmpiricalTestRunEventTrigger"
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert (kwargs["environment"], kwargs["branch"]) == (["staging"], None)
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**kwargs)
    assert again.serialize() == (path, kwargs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outcome": "red"}, "outcome must be passed or"),
        ({"environment": []}, "environment must name at least one"),
        ({"poll_interval": 0}, "poll_interval must be a number above 0"),
        ({"empirical_conn_id": ""}, "empirical_conn_id must be a non-empty string"),
        ({"policy": {"min": 1}}, "policy has the unknown key 'min'"),
        ({"enviroment": "staging"}, "unknown key 'enviroment'.*Did you mean 'environment'"),
    ],
)
def test_bad_arguments_are_refused_in_the_dag_file(fields: dict[str, Any], message: str) -> None:
    """A watcher that could not work is an import error of its DAG, and names the argument."""
    with pytest.raises(InvalidRequestError, match=message):
        watch(**fields)


def test_the_arguments_of_another_version_are_understood() -> None:
    """A triggerer that is older than the DAG processor ignores what is new in stored arguments, and
    a newer one has defaults for what is missing: in each of them, and in all."""
    wanted = watch(environment="staging", outcome="failed", policy={"failed": "skip"})
    _, kwargs = wanted.serialize()
    new = {"a_new_argument": 1, "policy": {**kwargs["policy"], "a_new_outcome": "fail"}}
    assert watch(**{**kwargs, **new}).serialize() == wanted.serialize()
    for name in kwargs.keys() - {"stored"}:
        rest = {key: value for key, value in kwargs.items() if key != name}
        _, again = watch(**rest).serialize()
        assert again.keys() == kwargs.keys()
        assert {key: again[key] for key in rest} == rest
    assert watch(stored=True).serialize() == watch().serialize()


def test_alone_it_tells_each_end_once(empirical: Emulator, end: Callable[..., int]) -> None:
    """Where nothing is shared it looks alone, saves what it told, and goes on there later."""
    end()
    store = Store()

    async def some(trigger: Any, count: int) -> list[dict[str, Any]]:
        trigger.asset_state_store = store
        events: list[dict[str, Any]] = []

        async def run() -> None:
            async for event in trigger.run():
                events.append(event.payload)  # noqa: PERF401  # seen while it runs

        task = asyncio.create_task(run())
        await until(lambda: store.values, "the first look")
        await until(lambda: len(events) >= count, "the events")
        await looked(empirical, 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return events

    async def first() -> list[dict[str, Any]]:
        task = asyncio.create_task(some(watch(outcome="failed"), 1))
        await until(lambda: store.values, "the first look")
        end()
        red.append(end(outcome="failed"))
        return await task

    red: list[int] = []
    told = played(first())
    assert [(each["run_id"], each["outcome"]) for each in told] == [(red[0], "failed")]
    assert told[0]["url"].endswith(f"/test-runs/{red[0]}")
    later = end("staging", "failed")
    assert [each["run_id"] for each in played(some(watch(outcome="failed"), 1))] == [later]


@shares
def test_twenty_watchers_make_one_poll(empirical: Emulator, end: Callable[..., int]) -> None:
    """Twenty watchers of a connection ask for no more than one does, and each hears all."""

    async def scene(count: int) -> tuple[list[list[int]], Counter[str]]:
        async with triggerer() as one:
            for number in range(count):
                await one.start(watch(policy={"min_tests": number}), Store())
            await looked(empirical)
            began = len(empirical.requests)
            ids = [end() for _ in range(3)]
            await until(lambda: all(one.told(each) == ids for each in range(count)), "all told")
            asked = Counter(each.endpoint for each in empirical.requests[began:])
            return [one.told(each) for each in range(count)], asked

    for count in (1, 20):
        told, asked = played(scene(count))
        assert asked["get_test_run"] == 3
        assert asked["list_test_runs"] <= 5
        assert len({tuple(each) for each in told}) == 1


@shares
def test_what_was_told_is_saved_once_it_is_stored(
    empirical: Emulator, end: Callable[..., int]
) -> None:
    """A watcher that ends before its event is stored tells it again, and after that never."""
    store = Store()

    async def scene(confirms: bool, run_id: int | None) -> list[int]:
        async with triggerer() as one:
            await one.start(watch(), store)
            if run_id is None:
                await until(lambda: store.values, "the first look")
                run_id = end()
                await until(lambda: one.told(0), "the event")
            else:
                await looked(empirical, 3)
            if confirms:
                before = dict(store.values)
                one.confirm()
                await until(lambda: store.values != before, "saved")
            return one.told(0)

    [told] = played(scene(confirms=False, run_id=None))
    assert played(scene(confirms=True, run_id=told)) == [told]
    assert played(scene(confirms=False, run_id=told)) == []


@shares
def test_a_watcher_that_comes_late_goes_on_where_it_was(
    empirical: Emulator, end: Callable[..., int]
) -> None:
    """One that was away hears what ended meanwhile, although the others have heard it before."""
    stores = [Store(), Store()]

    async def scene() -> None:
        async with triggerer() as one:
            for store in stores:
                await one.start(watch(), store)
            await until(lambda: all(store.values for store in stores), "the first look")
        run_id = end()
        async with triggerer() as one:
            await one.start(watch(), stores[0])
            await until(lambda: one.told(0) == [run_id], "one has heard")
            await one.start(watch(), stores[1])
            await until(lambda: one.told(1) == [run_id], "the other has heard")
            await looked(empirical)
            assert one.told(0) == [run_id]

    played(scene())


@pytest.fixture
def hours_ago(empirical: Emulator) -> Iterator[Callable[[int], None]]:
    """Return a function that sets the service's clock back by hours."""
    yield lambda hours: empirical.behave(clock_skew=-3600 * hours)
    empirical.behave(clock_skew=0)


async def join_while_a_look_is_under_way(empirical: Emulator, one: Triggerer, store: Store) -> int:
    """Start a watcher while the service thinks about a list that others have asked for."""
    empirical.fault("list_test_runs", "delay", delay=1.0, times=None)
    await looked(empirical, 1)
    empirical.clear_faults()  # but for the one that it thinks about
    return await one.start(watch(), store)


@shares
def test_a_watcher_that_joins_during_a_look_is_told_nothing_past(
    empirical: Emulator, end: Callable[..., int], hours_ago: Callable[[int], None]
) -> None:
    """A look that was taken for the others makes no news of what has ended long ago."""
    hours_ago(2)
    for _ in range(20):
        end()
    hours_ago(1)
    end()
    stores = [Store(), Store()]

    async def scene() -> None:
        async with triggerer() as one:
            await one.start(watch(), stores[0])
            await until(lambda: stores[0].values, "the first look")
            await join_while_a_look_is_under_way(empirical, one, stores[1])
            await until(lambda: stores[1].values, "the other's first look")
            run_id = end()
            await until(lambda: run_id in one.told(1), "the event")
            assert one.told(0) == one.told(1) == [run_id]

    played(scene())


@shares
def test_a_watcher_that_comes_back_during_a_look_is_told_all(
    empirical: Emulator, end: Callable[..., int], hours_ago: Callable[[int], None]
) -> None:
    """A look that was taken for the others does not move it past what has ended meanwhile."""
    hours_ago(4)
    end()
    stores = [Store(), Store()]

    async def scene() -> None:
        async with triggerer() as one:
            for store in stores:
                await one.start(watch(), store)
            await until(lambda: all(store.values for store in stores), "the first look")
        hours_ago(3)
        ids = [end() for _ in range(5)]
        hours_ago(2)
        ids.append(end())
        async with triggerer() as one:
            await one.start(watch(), stores[0])
            await until(lambda: one.told(0) == ids, "one has heard")
            await join_while_a_look_is_under_way(empirical, one, stores[1])
            hours_ago(1)
            ids.append(end())
            await until(lambda: ids[-1] in one.told(1), "the other has heard")
            await looked(empirical)
            assert one.told(0) == one.told(1) == ids

    played(scene())


@shares
def test_watchers_of_one_asset_remember_apart(empirical: Emulator, end: Callable[..., int]) -> None:
    """A watcher that was away is told what only its own filter lets pass, although another one of
    the same asset has gone on meanwhile."""
    store = Store()

    async def scene() -> None:
        async with triggerer() as one:
            for outcome in ("passed", "failed"):
                await one.start(watch(outcome=outcome), store)
            await looked(empirical, 6)
        ids = [end(outcome="failed"), end()]
        async with triggerer() as one:
            await one.start(watch(outcome="passed"), store)
            await until(lambda: one.told(0) == ids[1:], "one has heard")
            before = dict(store.values)
            one.confirm()
            await until(lambda: store.values != before, "saved")
        async with triggerer() as one:
            await one.start(watch(outcome="failed"), store)
            await looked(empirical, 3)
            assert one.told(0) == ids[:1]

    played(scene())


@shares
def test_trouble_ends_nothing(empirical: Emulator, end: Callable[..., int], api_key: str) -> None:
    """An outage, a refused key, a store that is away: watching goes on, and nothing is lost."""
    store = Store()

    async def scene() -> None:
        async with triggerer() as one:
            await one.start(watch(), store)
            await until(lambda: store.values, "the first look")
            empirical.fault("list_test_runs", "status", status=500, times=3)
            first = end()
            await until(lambda: one.told(0) == [first], "after the outage")
            empirical.revoke(api_key)
            await looked(empirical)
            empirical.restore(api_key)
            second = end()
            await until(lambda: one.told(0) == [first, second], "after the refusal")
            store.broken = True
            before = dict(store.values)
            one.confirm()
            await looked(empirical)
            assert store.values == before
            store.broken = False
            await until(lambda: store.values != before, "saved with a later look")

    played(scene())


@shares
def test_what_may_not_be_stored_is_not_saved() -> None:
    """Of looks in which somebody's event has failed nothing is saved: it is told again."""
    streams = importlib.import_module("airflow.triggers.shared_stream")
    saved: list[int] = []

    class Watching:
        async def save(self, number: int) -> None:
            saved.append(number)

    def item(number: int, failed: int) -> Any:
        return streams.AdvanceItem(number, streams.AdvanceOutcome(acked=1, failed=failed))

    async def scene() -> None:
        poll = watching.Poll("empirical_default", Watching())  # type: ignore[arg-type]
        await poll.advance([item(1, 0), item(2, 1)])
        assert saved == []
        await poll.advance([item(3, 0), item(4, 0)])
        assert saved == [4]

    played(scene())


def test_a_key_that_is_replaced_is_read_anew(
    empirical: Emulator, end: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher whose key is refused goes by the new one as soon as the connection has it."""
    name, store = "AIRFLOW_CONN_EMPIRICAL_DEFAULT", Store()
    good = os.environ[name]
    monkeypatch.setenv(name, json.dumps({**json.loads(good), "password": "no-longer-valid"}))

    async def scene() -> None:
        trigger = watch()
        trigger.asset_state_store = store
        task = asyncio.create_task(anext(trigger.run()))
        await looked(empirical, 2)
        assert store.values == {}
        monkeypatch.setenv(name, good)
        await until(lambda: store.values, "the first look with the new key")
        run_id = end()
        assert (await task).payload["run_id"] == run_id

    played(scene())


def test_a_saved_value_that_is_no_cursor_counts_for_nothing(end: Callable[..., int]) -> None:
    """What a person has written over the cursor makes it begin anew, without a flood."""
    end()
    store = Store()
    memory = Memory("empirical_default", {}, store)
    assert played(memory.save(Cursor(floor=1)))
    assert played(memory.recall()) == Cursor(floor=1)
    [key] = store.values
    store.values[key] = json.dumps({"floor": "x"})
    assert played(memory.recall()) is None
    store.values[key] = json.dumps({"floor": 1, "a_new_key": [1]})
    assert played(memory.recall()) == Cursor(floor=1)
