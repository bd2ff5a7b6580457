"""One run for a task, whatever crashes: retries go on with it, and a clear starts a fresh one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import EmpiricalClient, EmpiricalError, TestRunRequest
from empirical_provider.airflow import exceptions as host
from tests.airflow.standins import (
    AirflowFailException,
    Store,
    TaskDeferred,
    TaskInstance,
    context_of,
    gate,
    run,
)
from tests.airflow.tries import RETRIES, attempt, first_try, is_complete, waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once", "telling")


class Killed(BaseException):
    """What SIGKILL is here: no code of ours comes after it."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that has the process die at a point of the next request to start a run."""
    send, push = EmpiricalClient._send, TaskInstance.xcom_push

    def at(point: str) -> None:
        def dying(self: EmpiricalClient, call: Any, **options: Any) -> Any:
            if not call.starts_run:
                return send(self, call, **options)
            monkeypatch.setattr(EmpiricalClient, "_send", send)
            if point == "before the request":
                raise Killed
            answer = send(self, call, **options)
            if point == "before the answer":
                raise Killed
            monkeypatch.setattr(TaskInstance, "xcom_push", die)
            return answer

        def die(_self: TaskInstance, key: str, value: Any) -> None:
            del key, value
            monkeypatch.setattr(TaskInstance, "xcom_push", push)
            raise Killed

        monkeypatch.setattr(EmpiricalClient, "_send", dying)

    return at


POINTS = ("before the request", "before the answer", "before the id is saved")


@pytest.fixture
def crashed(
    kill: Callable[[str], None], mode: dict[str, Any], host_has: dict[str, Any]
) -> Callable[..., TaskInstance]:
    """Return a function that has a first try die after its run was started; it returns the next."""

    def crash(point: str = POINTS[-1], **fields: Any) -> TaskInstance:
        ti = first_try()
        kill(point)
        with pytest.raises(Killed):
            attempt(ti, mode, fields=fields, **host_has)
        return ti.retried()

    return crash


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_leaves_one_run(
    point: str,
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """Wherever the first try dies, the retry ends with exactly one run, and tells all of it."""
    ti = crashed(point)
    assert len(empirical.runs) == (0 if point == "before the request" else 1)
    run_id = attempt(ti, mode, **host_has)
    assert [each.id for each in empirical.runs] == [run_id]
    is_complete(ti, run_id, mode, "passed")


def test_a_run_that_goes_on_is_waited_for(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """The retry goes on with a live run, also through further retries, and starts none."""
    empirical.script("staging", "stuck")
    ti = crashed()
    [started] = empirical.runs
    if not waits(mode):
        assert attempt(ti, mode, **host_has) == started.id
        return
    for _ in range(2):
        with pytest.raises(host.EmpiricalWaitTimedOutError) as error:
            attempt(ti, mode, fields={"timeout": 0.1}, **host_has)
        assert error.value.run_id == started.id
        ti = ti.retried()
    empirical.set_state(started.id, "ended")
    assert attempt(ti, mode, **host_has) == started.id
    is_complete(ti, started.id, mode, "passed")
    assert len(empirical.runs) == 1


def test_a_green_run_is_taken_over_at_once(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A run that has passed meanwhile opens the gate without a wait: nothing is deferred."""
    ti = crashed()
    [started] = empirical.runs
    empirical.set_state(started.id, "ended")
    assert gate(**mode, retries=RETRIES).execute(context_of(ti, **host_has)) == started.id
    is_complete(ti, started.id, mode, "passed")
    assert len(empirical.runs) == 1


def test_a_red_run_is_taken_over_at_once(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A run that has failed meanwhile fails the gate without a wait, and burns no retry."""
    empirical.script("staging", "failed")
    ti = crashed()
    [started] = empirical.runs
    empirical.set_state(started.id, "ended")
    if waits(mode):
        with pytest.raises(host.EmpiricalTestsFailedError) as error:
            gate(**mode, retries=RETRIES).execute(context_of(ti, **host_has))
        assert isinstance(error.value, AirflowFailException)
    else:
        assert attempt(ti, mode, **host_has) == started.id
    is_complete(ti, started.id, mode, "failed")
    assert len(empirical.runs) == 1


@pytest.mark.parametrize("state", ["error", "cancelled"])
def test_a_run_without_a_verdict_makes_way_for_another(
    state: str,
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """After an error or a cancellation the retry starts a new run; further ones go on with it."""
    ti = crashed()
    [first] = empirical.runs
    empirical.set_state(first.id, state)
    run_id = attempt(ti, mode, **host_has)
    assert [each.id for each in empirical.runs] == [first.id, run_id]
    is_complete(ti, run_id, mode, "passed")
    assert attempt(ti.retried(), mode, **host_has) == run_id
    assert len(empirical.runs) == 2


@pytest.mark.parametrize("scripted", ["passed", "failed"])
def test_a_clear_starts_a_fresh_run(
    scripted: str, mode: dict[str, Any], host_has: dict[str, Any], empirical: Emulator
) -> None:
    """Whatever the verdict was, a cleared task has one on a run of its own; its retries keep it."""
    empirical.script("staging", scripted, runs=1)
    ti = first_try()
    try:
        first = attempt(ti, mode, **host_has)
    except host.EmpiricalTestsFailedError as error:
        first = error.run_id
    again = ti.cleared(RETRIES)
    second = attempt(again, mode, **host_has)
    assert [each.id for each in empirical.runs] == [first, second]
    is_complete(again, second, mode, "passed")
    assert attempt(again.retried(), mode, **host_has) == second
    third = attempt(again.retried().cleared(RETRIES), mode, **host_has)
    assert [each.id for each in empirical.runs] == [first, second, third]


def test_a_crash_after_a_clear_adopts_nothing_from_before(
    kill: Callable[[str], None],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A cleared task that crashes before it has started its run does not fall back on the old."""
    ti = first_try()
    first = attempt(ti, mode, **host_has)
    again = ti.cleared(RETRIES)
    kill("before the request")
    with pytest.raises(Killed):
        attempt(again, mode, **host_has)
    second = attempt(again.retried(), mode, **host_has)
    assert [each.id for each in empirical.runs] == [first, second]


def test_a_try_that_the_scheduler_has_added_is_a_retry(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A scheduler that starts again runs its tasks again, beyond their retries: the run is kept."""
    ti = crashed()
    ti.try_number = 5
    assert attempt(ti, mode, **host_has) == empirical.runs[0].id
    assert len(empirical.runs) == 1


class Broken(Store):
    """A store that fails: when it is read, written, or both."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.broken = set(broken)

    def get(self, key: str, default: Any = None) -> Any:
        if "get" in self.broken:
            raise RuntimeError("the store is away")
        return super().get(key, default)

    def set(self, key: str, value: Any) -> None:
        if "set" in self.broken:
            raise RuntimeError("the store is away")
        super().set(key, value)


@pytest.mark.parametrize("broken", [("set",), ("get", "set")], ids="+".join)
def test_a_store_that_does_not_save_starts_nothing(
    broken: tuple[str, ...], mode: dict[str, Any], empirical: Emulator
) -> None:
    """A retry could not tell then; it starts the run once the store saves again."""
    store, ti = Broken(*broken), first_try()
    with pytest.raises(EmpiricalError, match="No test run was started") as error:
        attempt(ti, mode, task_state_store=store)
    assert not isinstance(error.value, AirflowFailException)
    assert empirical.runs == []
    store.broken = set()
    run_id = attempt(ti.retried(), mode, task_state_store=store)
    assert [each.id for each in empirical.runs] == [run_id]


def test_a_retry_after_tries_that_never_came_here_starts_at_once(
    mode: dict[str, Any], empirical: Emulator, api_key: str
) -> None:
    """Beside the run of a colleague, too: the store says that nothing was sent."""
    empirical.behave(echo_in_list=set(), echo_in_detail=set())
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        other = client.trigger(TestRunRequest(environment="staging"))
    run_id = attempt(first_try().retried(), mode, task_state_store=Store())
    assert [each.id for each in empirical.runs] == [other.id, run_id]


@pytest.mark.parametrize("broken", [("get",)], ids="+".join)
@pytest.mark.parametrize("point", POINTS)
def test_a_store_that_cannot_be_read_loses_neither_gate_nor_run(  # noqa: PLR0917  # by name
    point: str,
    broken: tuple[str, ...],
    kill: Callable[[str], None],
    mode: dict[str, Any],
    empirical: Emulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without what it should have told, the retry looks its run up; the log says why."""
    store, ti = Broken(*broken), first_try()
    kill(point)
    with pytest.raises(Killed):
        attempt(ti, mode, task_state_store=store)
    run_id = attempt(ti.retried(), mode, task_state_store=store)
    assert [each.id for each in empirical.runs] == [run_id]
    assert "the store is away" in caplog.text


def test_a_request_that_changes_between_tries_is_refused_by_name(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A verdict on something else is none; what nobody tests may differ."""
    ti = crashed(branch="main", metadata={"note": 1}, github_actor="alice")
    with pytest.raises(AirflowFailException, match=r"differs in branch\b"):
        attempt(ti, mode, fields={"branch": "next"}, **host_has)
    same = {"branch": "main", "metadata": {"note": 2}, "github_actor": "bob"}
    assert attempt(ti, mode, fields=same, **host_has) == empirical.runs[0].id
    assert len(empirical.runs) == 1


class Accessor:
    """Stands in for Airflow's accessor of one asset's event."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}


def test_asset_events_tell_of_an_adopted_run(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """The event of an outlet is as complete as that of a first try."""
    ti, task, events = crashed(), gate(**mode, retries=RETRIES), {"shop": Accessor()}
    task.outlets = ["shop"]
    run(task, ti, outlet_events=events, **host_has)
    told = events["shop"].extra
    assert told["test_run_id"] == empirical.runs[0].id
    assert told["test_run_url"] == ti.xcoms["test_run_url"]
    assert told.get("outcome") == ("passed" if waits(mode) else None)


@pytest.mark.parametrize("mode", ["deferrable"], indirect=True)
def test_an_adopted_run_is_handed_to_the_trigger(
    crashed: Callable[..., TaskInstance],
    mode: dict[str, Any],
    host_has: dict[str, Any],
    empirical: Emulator,
) -> None:
    """A deferrable task whose run goes on defers again, for that very run."""
    empirical.script("staging", "stuck")
    ti = crashed()
    with pytest.raises(TaskDeferred) as deferred:
        gate(**mode, retries=RETRIES).execute(context_of(ti, **host_has))
    assert deferred.value.trigger.test_run_id == empirical.runs[0].id
