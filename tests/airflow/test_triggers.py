"""The trigger and its events: what is stored, what ends a wait, and who may cancel the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AuthenticationError,
    EmpiricalClient,
    NotFoundError,
    TestRunRequest,
    UnreadableAnswerError,
)
from empirical_provider.airflow import triggers
from empirical_provider.airflow.events import event_of_error, verdict_of
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger
from empirical_provider.emulator import Emulator
from tests.airflow.standins import (
    AIRFLOW,
    AirflowFailException,
    TaskDeferred,
    TaskInstance,
    again,
    context_of,
    event_of,
    gate,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def start(empirical: Emulator, api_key: str) -> Callable[..., EmpiricalTestRunTrigger]:
    """Return a function that starts a run in staging and returns a trigger for it."""

    def begin(outcome: str = "passed", **fields: Any) -> EmpiricalTestRunTrigger:
        empirical.script("staging", outcome)
        with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
            run_id = client.trigger(TestRunRequest(environment="staging")).id
        now = time.time()
        given = {"started_at": now, "deadline": now + 60, "poll_interval": 0.02}
        return EmpiricalTestRunTrigger(
            test_run_id=run_id, empirical_conn_id="empirical_default", **{**given, **fields}
        )

    return begin


@contextlib.asynccontextmanager
async def running(
    trigger: EmpiricalTestRunTrigger, empirical: Emulator
) -> AsyncIterator[asyncio.Task[Any]]:
    """Run a trigger as the triggerer does, from its first look on."""
    task = asyncio.ensure_future(anext(trigger.run()))
    while not any(each.endpoint == "get_test_run" for each in empirical.requests):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the look is seen in another thread, which has no event to set
    yield task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def asked_to_cancel(empirical: Emulator) -> int:
    return sum(each.endpoint == "cancel_test_run" for each in empirical.requests)


def test_what_is_stored_is_plain_and_has_no_key(api_key: str) -> None:
    """A deferred task leaves JSON under a path that is public for ever, without the API key."""
    task, ti = gate(deferrable=True, start_timeout=60, policy={"failed": "skip"}), TaskInstance()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context_of(ti))
    path, kwargs = deferred.value.trigger.serialize()
    assert path == "empirical_provider.airflow.triggers.EmpiricalTestRunTrigger"
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert api_key not in json.dumps(kwargs)
    assert stored(deferred.value.trigger).serialize() == (path, kwargs)
    began = ti.start_date.timestamp()
    assert kwargs["test_run_id"] == ti.xcoms["test_run_id"]
    assert (kwargs["deadline"], kwargs["start_deadline"]) == (began + 7200, began + 60)
    assert kwargs["policy"]["failed"] == "skip"


def test_the_first_look_is_ten_seconds_after_the_deferral() -> None:
    """Airflow 3.3 may fail a task whose trigger fires within seconds; a triggerer that starts
    again does not wait anew, because the time is stored and not the delay."""
    before = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        gate(deferrable=True).execute(context_of(TaskInstance()))
    assert 10 <= deferred.value.trigger.first_poll_at - before < 15
    with pytest.raises(TaskDeferred) as deferred:
        gate(deferrable=True, poll_interval=60).execute(context_of(TaskInstance()))
    assert 54 <= deferred.value.trigger.first_poll_at - before < 72


def test_the_trigger_keeps_to_its_first_look(
    start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """Nothing is asked before the time of the first look."""
    trigger = start(first_poll_at=time.time() + 0.5)
    event_of(trigger)
    assert time.time() >= trigger.first_poll_at

    async def too_early() -> None:
        waiting = start(first_poll_at=time.time() + 60)
        asked = len(empirical.requests)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(waiting.run()), 0.3)
        assert len(empirical.requests) == asked

    asyncio.run(too_early())


def test_the_deadline_is_absolute(start: Callable[..., EmpiricalTestRunTrigger]) -> None:
    """A trigger that runs again later has the time that is left: after the deadline, one look."""
    now = time.time()
    event = event_of(start("stuck", started_at=now - 100, deadline=now - 1))
    assert event["verdict"]["outcome"] == "timed_out"
    assert event["verdict"]["elapsed_seconds"] >= 100
    assert "the time-out is 99 s" in event["verdict"]["summary"]
    assert event_of(start("error", started_at=now - 100, deadline=now))["status"] == "verdict"


def test_a_run_that_does_not_start_has_its_own_clock(
    start: Callable[..., EmpiricalTestRunTrigger],
) -> None:
    """The start deadline ends the wait for a run that is still pending, with its own message."""
    event = event_of(start("pending", start_deadline=time.time() + 0.2))
    assert event["verdict"]["outcome"] == "timed_out"
    assert "it should have started in 0" in event["verdict"]["summary"]


@pytest.mark.parametrize("effect", ["status", "drop", "malformed", "truncated", "html", "huge"])
def test_no_look_that_fails_becomes_an_event(
    effect: str, start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """Whatever goes wrong while looking, the one event is the verdict."""
    trigger = start()
    status = 500 if effect == "status" else None
    empirical.fault("get_test_run", effect, status=status, times=2)
    assert event_of(trigger)["verdict"]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("status", "waited", "kind", "error"),
    [
        (401, 0, "authentication", AuthenticationError),
        (403, 0, "authentication", AuthenticationError),
        (404, 61, "not_found", NotFoundError),
    ],
)
def test_what_waiting_cannot_mend_is_an_event_of_its_own(  # noqa: PLR0917  # a table
    status: int,
    waited: float,
    kind: str,
    error: type[Exception],
    start: Callable[..., EmpiricalTestRunTrigger],
    empirical: Emulator,
) -> None:
    """A refused key, and a run that is still not found after a minute, are told as what they are;
    the task then fails without a retry."""
    trigger = start(started_at=time.time() - waited)
    empirical.fault("get_test_run", "status", status=status, times=None)
    event = event_of(trigger)
    assert (event["status"], event["kind"]) == ("error", kind)
    with pytest.raises(error, match=f"answered {status}"):
        verdict_of(event)
    with pytest.raises(AirflowFailException, match=f"answered {status}"):
        gate().execute_complete(context_of(TaskInstance()), event)


def test_a_key_that_is_replaced_in_the_connection_takes_effect(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait whose key is refused reads the connection anew, and goes on with another key."""

    def use(key: str) -> None:
        fields = {**connection, "host": service.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(fields))

    async def wait(run_id: int) -> Any:
        now = time.time()
        trigger = EmpiricalTestRunTrigger(
            test_run_id=run_id,
            empirical_conn_id="empirical_default",
            started_at=now,
            deadline=now + 60,
            poll_interval=0.02,
        )
        async with running(trigger, service) as waiting:
            use("new")
            service.revoke("old")
            service.set_state(run_id, "ended")
            return (await waiting).payload

    with Emulator(api_keys=["old", "new"], environments={"staging": "stuck"}) as service:
        use("old")
        with EmpiricalClient(api_key="old", base_url=service.url) as client:
            run_id = client.trigger(TestRunRequest(environment="staging")).id
        event = asyncio.run(wait(run_id))
    assert event["verdict"]["outcome"] == "passed"


def test_a_run_that_is_not_found_at_first_is_waited_for(
    start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """404 within the first minute is taken for a run that is not visible yet."""
    trigger = start()
    empirical.fault("get_test_run", "status", status=404, times=3)
    assert event_of(trigger)["verdict"]["outcome"] == "passed"


def test_a_wrong_connection_is_told_as_such(
    start: Callable[..., EmpiricalTestRunTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that became unusable meanwhile ends the wait with the reason."""
    trigger = start()
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", '{"conn_type": "empirical"}')
    event = event_of(trigger)
    assert (event["status"], event["kind"]) == ("error", "invalid")
    assert "Password" in event["message"]


def test_the_connection_is_not_looked_up_on_the_loop(
    start: Callable[..., EmpiricalTestRunTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's look-up is synchronous: in the triggerer's loop it fails, or blocks every wait."""
    trigger, look_up, loops = start(), EmpiricalHook.get_connection, []

    def watched(conn_id: str) -> Any:
        loops.append(asyncio._get_running_loop())
        return look_up(conn_id)

    monkeypatch.setattr(EmpiricalHook, "get_connection", staticmethod(watched))
    assert event_of(trigger)["status"] == "verdict"
    asyncio.run(trigger.on_kill())
    assert loops == [None]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (None, "it is empty"),
        ("passed", "it is a str"),
        ({}, "it is a dict"),
        ({"status": "success"}, "unknown status 'success'"),
        ({"status": "verdict"}, "unknown status 'verdict', or not what belongs to it"),
        ({"status": "verdict", "verdict": None}, "not what belongs to it"),
        ({"status": "verdict", "verdict": {"outcome": "passed"}}, "its verdict cannot be read"),
        ({"status": "error", "kind": "mood", "message": "x"}, "unknown kind of error 'mood'"),
    ],
)
@pytest.mark.usefixtures("at_once")
def test_an_event_that_is_not_ours_opens_no_gate(event: Any, told: str) -> None:
    """Anything but the events that the trigger makes fails the task, and names run and page."""
    ti = TaskInstance()
    task = gate(deferrable=True)
    with pytest.raises(TaskDeferred):
        task.execute(context_of(ti))
    with pytest.raises(AirflowFailException, match="event is not understood") as error:
        again(task).execute_complete(context_of(ti), event)
    assert told in str(error.value)
    assert ti.xcoms["test_run_url"] in str(error.value)


def test_an_unknown_error_of_the_core_has_an_event_too() -> None:
    """Every error of the tree comes out of the event as an error of the tree."""
    assert event_of_error(UnreadableAnswerError("x"))["kind"] == "other"


def test_a_person_who_ends_the_task_cancels_the_run_once(
    start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """on_kill asks once for the cancellation; it can be turned off."""

    async def killed(trigger: EmpiricalTestRunTrigger) -> None:
        async with running(trigger, empirical) as task:
            task.cancel()
            await trigger.on_kill()
            await trigger.cleanup()

    asyncio.run(killed(start("stuck", cancel_on_kill=False)))
    assert asked_to_cancel(empirical) == 0
    asyncio.run(killed(start("stuck")))
    assert asked_to_cancel(empirical) == 1
    assert [run.state for run in empirical.runs][-1] in {"cancelling", "cancelled"}


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 Airflow tells no trigger of a kill")
@pytest.mark.parametrize("state", ["deferred", "deferred anew", "failed", "cannot be told"])
def test_a_trigger_that_was_taken_over_cancels_nothing(
    state: str,
    start: Callable[..., EmpiricalTestRunTrigger],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow kills a trigger, too, that another triggerer has taken over: the run is cancelled
    only where the task is known to have ended, or to wait for another run since a clear. (The
    answers are stand-ins for a triggerer's supervisor; `tests/deployment` has two of them.)"""

    def is_deferred(ti: Any) -> bool:
        assert ti is trigger.task_instance
        if state == "cannot be told":
            raise ConnectionError("the supervisor is gone")
        return state.startswith("deferred")

    def read_xcom(ti: Any, key: str) -> Any:
        assert (ti, key) == (trigger.task_instance, "test_run_id")
        return trigger.test_run_id + (state == "deferred anew")

    monkeypatch.setattr("empirical_provider.airflow.triggers.read_xcom", read_xcom)
    monkeypatch.setattr("empirical_provider.airflow.triggers.is_deferred", is_deferred)
    trigger = start("stuck")
    monkeypatch.setattr(type(trigger), "task_instance", object())
    asyncio.run(trigger.on_kill())
    assert asked_to_cancel(empirical) == (state in {"failed", "deferred anew"})


@pytest.mark.parametrize("effect", ["status", "drop", "delay"])
def test_a_cancel_that_fails_is_not_repeated_and_is_short(
    effect: str, start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """Airflow gives a kill little time: one call, and no error out of it."""
    assert triggers._CANCEL_WITHIN <= 3
    trigger = start("stuck")
    more: dict[str, Any] = {"status": {"status": 503}, "drop": {}, "delay": {"delay": 60}}[effect]
    empirical.fault("cancel_test_run", effect, times=None, **more)
    began = time.monotonic()
    asyncio.run(trigger.on_kill())
    assert time.monotonic() - began < 30
    assert asked_to_cancel(empirical) == 1


def test_a_triggerer_that_goes_down_leaves_the_run_alone(
    start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """Neither a cancelled loop nor cleanup cancels the run; the same trigger goes on elsewhere."""
    trigger = start("stuck")

    async def shut_down() -> None:
        async with running(trigger, empirical) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await trigger.cleanup()

    asyncio.run(shut_down())
    assert asked_to_cancel(empirical) == 0
    empirical.set_state(trigger.test_run_id, "ended")
    assert event_of(stored(trigger))["verdict"]["outcome"] == "passed"
