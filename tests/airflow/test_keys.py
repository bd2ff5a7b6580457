"""Keys: what a task's own is made of, and what tasks share that the user gives one key."""

from __future__ import annotations

import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import InvalidRequestError
from empirical_provider.airflow.durable import Memory, once_for
from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator
from tests.airflow.standins import (
    AirflowFailException,
    Store,
    TaskInstance,
    context_of,
    gate,
)
from tests.airflow.tries import RETRIES, attempt, first_try, is_complete
from tests.deployment.processes import until

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from empirical_provider.trigger_once import TriggerOnce

pytestmark = pytest.mark.usefixtures("connection", "at_once", "telling")

RELEASE = {"key": "shop 1.4.2"}
BEGAN = datetime(2026, 11, 24, 12, tzinfo=UTC)
CROWD = 20


class Other(TaskInstance):
    task_id = "smoke"


def once(ti: TaskInstance, *, retries: int = RETRIES, **more: Any) -> TriggerOnce:
    """Return what the core is told of a task instance."""
    key = more.pop("key", None)
    context = context_of(ti, dag_run=SimpleNamespace(start_date=BEGAN), **more)
    return once_for(context, Memory(context), key=key, retries=retries)


@pytest.mark.parametrize(
    ("try_number", "max_tries", "retries", "since"),
    [
        (1, 2, 2, None),  # the first try ever
        (2, 2, 2, BEGAN),
        (3, 2, 2, BEGAN),
        (4, 2, 2, BEGAN),  # a scheduler that starts again adds tries
        (2, 3, 2, None),  # cleared after the first try
        (4, 5, 2, None),  # cleared after the third
        (5, 5, 2, BEGAN),
        (2, 1, 0, None),  # cleared, without retries
        (2, 0, 0, BEGAN),
        (1, 0, 3, None),  # retries were added meanwhile
        (2, 5, 2, BEGAN),  # and taken away
    ],
)
def test_a_try_knows_whether_there_were_others(
    try_number: int, max_tries: int, retries: int, since: datetime | None
) -> None:
    """A try that may follow another of its generation looks back as far as the DAG run's start."""
    told = once(TaskInstance(try_number=try_number, max_tries=max_tries), retries=retries)
    assert told.tried_since == (since and since.timestamp())
    assert told.generation == max_tries


def test_a_dag_run_that_does_not_tell_its_start_began_yesterday() -> None:
    """Where Airflow has no start of the DAG run, a day before the try is taken for it."""
    ti = first_try().retried()
    context = context_of(ti)
    told = once_for(context, Memory(context), key=None, retries=RETRIES)
    assert told.tried_since == (ti.start_date - timedelta(days=1)).timestamp()


def test_an_own_key_is_the_same_in_each_try_and_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key tells deployment, DAG, DAG run, task and map index apart, and no tries."""
    keys = [once(first_try()).key, once(first_try().retried()).key]
    assert len(set(keys)) == 1
    assert json.loads(keys[0]) == [
        "airflow",
        f"http://localhost:8080 {BEGAN.timestamp()}",
        "release",
        "manual__1",
        "e2e",
        None,
    ]
    for name, value in (
        ("dag_id", "x"),
        ("run_id", "x"),
        ("task_id", "x"),
        ("map_index", 0),
        ("map_index", 1),
    ):
        ti = first_try()
        monkeypatch.setattr(ti, name, value)
        keys.append(once(ti).key)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://other.example.com")
    keys.append(once(first_try()).key)
    assert len(set(keys)) == len(keys) - 1


def test_two_deployments_that_are_not_told_apart_by_their_address_have_two_keys() -> None:
    """With the default address the moment at which the DAG run has begun tells them apart."""
    ti, keys = first_try(), set()
    for began in (BEGAN, BEGAN + timedelta(microseconds=1), BEGAN + timedelta(seconds=2)):
        context = context_of(ti, dag_run=SimpleNamespace(start_date=began))
        keys.add(once_for(context, Memory(context), key=None, retries=RETRIES).key)
    assert len(keys) == 3


def test_a_clear_that_gives_the_dag_run_another_start_keeps_the_key() -> None:
    """Where a store keeps it; a re-run of what was red needs it."""
    store, ti, keys = Store(), first_try(), set()
    for began in (BEGAN, BEGAN + timedelta(days=1)):
        context = context_of(ti, task_state_store=store, dag_run=SimpleNamespace(start_date=began))
        memory = Memory(context)
        keys.add(once_for(context, memory, key=None, retries=RETRIES).key)
        memory.save(None)
        ti = ti.cleared(RETRIES)
    assert len(keys) == 1


@pytest.mark.parametrize("record", [None, {"key": "k", "since": 1.0, "run_id": 4}])
def test_what_was_saved_is_enough_to_know(record: dict[str, Any] | None) -> None:
    """With a store that can be read nothing else is looked for: nothing is sent that is not saved
    before. The record of another generation is passed on."""
    store, ti = Store(), first_try()
    Memory(context_of(ti, task_state_store=store)).save(record)
    told = once(ti.retried(), task_state_store=store)
    assert (told.tried_since, told.saved) == (None, record)
    later = once(ti.cleared(RETRIES).retried(), task_state_store=store)
    assert (later.tried_since, later.saved) == (None, record)


def test_an_empty_store_is_enough_to_know() -> None:
    """A retry after tries that never came to the operator starts at once: nothing was sent."""
    told = once(first_try().retried(), task_state_store=Store())
    assert (told.tried_since, told.saved) == (None, None)


@pytest.mark.parametrize("stored", ["text", 7, {}, {"generation": "2"}, {"generation": 2}])
def test_what_is_not_ours_in_the_store_is_passed_over(stored: Any) -> None:
    """A value that no version of this package has saved counts for nothing."""
    store, ti = Store(), first_try().retried()
    store.set("empirical_test_run", stored)
    told = once(ti, task_state_store=store)
    assert (told.tried_since, told.saved) == (BEGAN.timestamp(), None)


def test_tasks_share_the_run_of_their_key(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """A second task goes on with the first one's run, live or finished; both tell all of it."""
    first, second = first_try(), Other(max_tries=RETRIES)
    run_id = attempt(first, {"wait_for_completion": False}, fields=RELEASE)
    assert attempt(second, mode, fields=RELEASE, **host_has) == run_id
    is_complete(second, run_id, mode, "passed")
    third = Other(max_tries=RETRIES)
    assert attempt(third, mode, fields=RELEASE) == run_id
    assert len(empirical.runs) == 1
    assert attempt(first_try(), mode, fields={"key": "shop 1.4.3"}, **host_has) != run_id


def test_a_cleared_task_leaves_the_shared_run_to_the_others(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """A person who clears gets a fresh run, which its retries keep; others keep the shared one."""
    ti = first_try()
    shared = attempt(ti, mode, fields=RELEASE, **host_has)
    cleared = ti.cleared(RETRIES)
    own = attempt(cleared, mode, fields=RELEASE, **host_has)
    assert attempt(cleared.retried(), mode, fields=RELEASE, **host_has) == own
    assert attempt(Other(max_tries=RETRIES), mode, fields=RELEASE) == shared
    assert [each.id for each in empirical.runs] == [shared, own]
    is_complete(cleared, own, mode, "passed")


def test_one_key_for_two_requests_is_refused_by_name(
    mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """The difference is named, nothing is started, and no retry is burned."""
    attempt(first_try(), mode, fields=RELEASE, **host_has)
    other = Other(max_tries=RETRIES)
    fields = {**RELEASE, "branch": "next", "tags": ["@smoke"]}
    with pytest.raises(AirflowFailException, match=r"differs in branch, tags\b") as error:
        attempt(other, mode, fields=fields, **host_has)
    assert "shop 1.4.2" in str(error.value)
    assert len(empirical.runs) == 1
    assert "test_run_id" not in other.xcoms


@pytest.mark.parametrize("key", ["", "  ", "None"])
def test_a_key_that_is_none_is_refused(key: str, mode: dict[str, Any], empirical: Emulator) -> None:
    """A template that finds nothing would have all releases share one run."""
    with pytest.raises(AirflowFailException, match="its template finds nothing"):
        attempt(first_try(), mode, fields={"key": key})
    assert empirical.runs == []


def test_a_shared_run_is_not_cancelled_by_default() -> None:
    """Who ends one task does not end the run that others wait for, unless the DAG says so."""
    assert EmpiricalTriggerTestRunOperator(task_id="e2e").cancel_on_kill
    assert not gate(**RELEASE).cancel_on_kill
    assert gate(**RELEASE, cancel_on_kill=True).cancel_on_kill
    assert not gate(cancel_on_kill=False).cancel_on_kill


def test_twenty_tasks_at_once_share_one_run(empirical: Emulator) -> None:
    """One run is left alive, and all twenty have its verdict."""

    class Mapped(TaskInstance):
        def __init__(self, index: int) -> None:
            super().__init__(max_tries=RETRIES)
            self.map_index = index

    empirical.script("staging", "stuck")
    crowd = [Mapped(index) for index in range(CROWD)]

    def alive() -> list[int]:
        return [each.id for each in empirical.runs if not each.state.startswith("cancel")]

    def agreed() -> bool:
        known = {ti.xcoms.get("test_run_id") for ti in crowd}
        return len(known) == 1 and known == set(alive())

    def begin(ti: TaskInstance) -> Any:
        task = gate(**RELEASE, deferrable=False, retries=RETRIES, timeout=60)
        # 2.11's guard around `execute` is for the main thread only.
        return inspect.unwrap(type(task).execute)(task, context_of(ti))

    with ThreadPoolExecutor(CROWD) as pool:
        ends = [pool.submit(begin, ti) for ti in crowd]
        until("all wait for one run", agreed)
        [run_id] = alive()
        empirical.set_state(run_id, "ended")
        assert {end.result() for end in ends} == {run_id}
    assert [ti.xcoms["verdict"]["run_id"] for ti in crowd] == [run_id] * CROWD
    assert {ti.xcoms["verdict"]["outcome"] for ti in crowd} == {"passed"}
    assert alive() == [run_id]


def test_a_key_is_text_in_the_end() -> None:
    """What a template yields that is no text is refused by type."""
    with pytest.raises(InvalidRequestError, match="key must be a non-empty string, not int"):
        once(first_try(), key=7)
