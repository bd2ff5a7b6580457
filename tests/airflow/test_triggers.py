"""The trigger and its events: what is stored, what ends a wait, and who may cancel the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empirical_provider import (
    AuthenticationError,
    EmpiricalClient,
    GatePolicy,
    NotFoundError,
    TestRun,
    TestRunRequest,
    TestRunState,
    UnreadableAnswerError,
)
from empirical_provider.airflow import triggers
from empirical_provider.airflow.events import event_of_error, event_of_verdict, verdict_of
from empirical_provider.airflow.exceptions import EmpiricalTestsFailedError
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger
from empirical_provider.airflow.versions import on_kill_timeout
from empirical_provider.emulator import Emulator
from empirical_provider.verdict import judge
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
    from collections.abc import AsyncIterator, Callable, Iterator

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
    start: Callable[..., EmpiricalTestRunTrigger],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """404 within the first minute is taken for a run that is not visible yet."""
    monkeypatch.setattr("empirical_provider.wait._GRACE", 60.0)  # the real one
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


NOT_UNDERSTOOD: list[tuple[Any, str]] = [
    (None, "it is empty"),
    ("passed", "it is a str"),
    ({}, "it is a dict"),
    ({"status": "success"}, "unknown status 'success'"),
    ({"status": "verdict"}, "unknown status 'verdict', or not what belongs to it"),
    ({"status": "verdict", "verdict": None}, "not what belongs to it"),
    ({"status": "verdict", "verdict": {"outcome": "passed"}}, "its verdict cannot be read"),
    (
        {"status": "verdict", "verdict": {"run_id": 1, "outcome": "new", "decision": "pass"}},
        "its verdict cannot be read",
    ),
    ({"status": "error", "kind": "mood", "message": "x"}, "unknown kind of error 'mood'"),
]


@pytest.mark.parametrize("outcome", ["passed", "failed"])
@pytest.mark.parametrize(("event", "told"), NOT_UNDERSTOOD)
@pytest.mark.usefixtures("at_once")
def test_an_event_that_is_not_understood_leads_to_a_poll(
    event: Any, told: str, outcome: str, empirical: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Anything but the events that this version makes opens no gate and closes none: the worker
    polls the run itself, and the log names run, page and what was wrong."""
    empirical.script("staging", outcome)
    ti = TaskInstance()
    task = gate(deferrable=True)
    with pytest.raises(TaskDeferred):
        task.execute(context_of(ti))
    if outcome == "passed":
        assert again(task).execute_complete(context_of(ti), event) == empirical.runs[0].id
    else:
        with pytest.raises(EmpiricalTestsFailedError):
            again(task).execute_complete(context_of(ti), event)
    assert ti.xcoms["verdict"]["outcome"] == outcome
    [warning] = [each for each in caplog.messages if "event is not understood" in each]
    assert told in warning
    assert ti.xcoms["test_run_url"] in warning


JSON = st.none() | st.booleans() | st.integers() | st.text() | st.dictionaries(st.text(), st.text())


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.usefixtures("at_once")
def test_an_event_of_another_version_is_understood(data: st.DataObject) -> None:
    """A triggerer that is upgraded before its workers, or after them, opens the gate all the same:
    what is new in its event is ignored, and what is missing has a default."""
    verdict = judge(
        TestRun(id=456, state=TestRunState.ENDED, total_count=1, failed_count=0), GatePolicy()
    )
    event = event_of_verdict(verdict)
    for each in (event, event["verdict"], event["verdict"]["counts"]):
        new = st.text().filter(lambda name, each=each: name not in each)
        each.update(data.draw(st.dictionaries(new, JSON, max_size=2)))
    for name in data.draw(st.sets(st.sampled_from(sorted(verdict.as_dict())))):
        if name not in {"run_id", "outcome", "decision"}:
            event["verdict"].pop(name, None)
    stored_event = json.loads(json.dumps(event))
    assert gate(deferrable=True).execute_complete(context_of(TaskInstance()), stored_event) == 456


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_arguments_of_another_version_are_understood(data: st.DataObject) -> None:
    """A triggerer that is older than the workers ignores a new argument and a new outcome in the
    policy; one that is newer has a default for what they did not store."""
    given_arguments = {
        "test_run_id": 456,
        "empirical_conn_id": "empirical_default",
        "started_at": 1.0,
        "deadline": 2.0,
        "start_deadline": 1.5,
        "poll_interval": 5.0,
        "policy": {**GatePolicy(failed="skip").as_dict(), "a_new_outcome": "fail"},
        "first_poll_at": 1.2,
        "cancel_on_kill": False,
        "expect_commit": "4f0c2d1",
    }
    optional = sorted(given_arguments)[:]
    for name in ("test_run_id", "empirical_conn_id", "started_at", "deadline"):
        optional.remove(name)
    dropped = data.draw(st.sets(st.sampled_from(optional)))
    name = st.text().filter(lambda name: name not in given_arguments)
    added = data.draw(st.dictionaries(name, JSON, max_size=3))
    kept = {name: value for name, value in given_arguments.items() if name not in dropped}
    _, kwargs = EmpiricalTestRunTrigger(**{**added, **kept}).serialize()
    assert kwargs.keys() == given_arguments.keys()
    if "policy" in kept:
        assert GatePolicy.of(kwargs["policy"]) == GatePolicy(failed="skip")
        kwargs["policy"] = kept["policy"]
    assert {name: kwargs[name] for name in kept} == kept


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


FAULTS: dict[str, dict[str, Any]] = {"status": {"status": 503}, "drop": {}, "delay": {"delay": 60}}


@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("effect", FAULTS)
def test_a_cancel_that_fails_has_a_second_attempt(
    effect: str,
    times: int | None,
    start: Callable[..., EmpiricalTestRunTrigger],
    empirical: Emulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cancel is asked for twice at most, within the time that Airflow gives, without an error
    out of it."""
    trigger = start("stuck")
    empirical.fault("cancel_test_run", effect, times=times, **FAULTS[effect])
    began = time.monotonic()
    asyncio.run(trigger.on_kill())
    assert time.monotonic() - began < 30
    assert asked_to_cancel(empirical) == 2
    is_cancelled = empirical.runs[-1].state in {"cancelling", "cancelled"}
    assert is_cancelled == (times == 1)
    assert ("could not be cancelled" in caplog.text) == (times is None)


def test_a_rejected_cancel_has_no_second_attempt(
    start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """Where a retry does not help, there is one request."""
    trigger = start("stuck")
    empirical.fault("cancel_test_run", "status", status=403, times=None)
    asyncio.run(trigger.on_kill())
    assert asked_to_cancel(empirical) == 1


class Airflow:
    """Stands in for a triggerer's supervisor: what it says of a task, after so long."""

    def __init__(self) -> None:
        self.asked = 0
        self.failures = 0
        self.seconds = 0.0
        self.waiting = threading.Event()

    def is_deferred(self, _: Any) -> bool:
        self.asked += 1
        self.waiting.wait(self.seconds)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the supervisor is busy")
        return False


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    """Have triggers that ask a supervisor, which has not been asked yet."""
    supervisor = Airflow()
    monkeypatch.setattr(triggers, "is_deferred", supervisor.is_deferred)
    monkeypatch.setattr(triggers, "_warm", False, raising=False)
    monkeypatch.setattr(EmpiricalTestRunTrigger, "task_instance", object())
    yield supervisor
    supervisor.waiting.set()


only_where_airflow_tells = pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="before 3.3 Airflow tells no trigger of a kill"
)


@only_where_airflow_tells
def test_a_slow_look_up_does_not_keep_a_run_from_being_cancelled(
    airflow: Airflow, start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """The first question to a fresh triggerer takes seconds: it has most of Airflow's limit."""
    trigger, airflow.seconds = start("stuck"), 4.0
    asyncio.run(trigger.on_kill())
    assert asked_to_cancel(empirical) == 1


@only_where_airflow_tells
def test_a_look_up_that_fails_has_a_second_attempt(
    airflow: Airflow, start: Callable[..., EmpiricalTestRunTrigger], empirical: Emulator
) -> None:
    """One error of the supervisor decides nothing; after two, the run is left alone."""
    airflow.failures = 1
    asyncio.run(start("stuck").on_kill())
    assert (airflow.asked, asked_to_cancel(empirical)) == (2, 1)
    airflow.failures = 9
    asyncio.run(start("stuck").on_kill())
    assert (airflow.asked, asked_to_cancel(empirical)) == (4, 1)


@only_where_airflow_tells
def test_a_kill_ends_before_airflow_ends_it(
    airflow: Airflow,
    start: Callable[..., EmpiricalTestRunTrigger],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What takes too long is given up within Airflow's own limit, and the log says what to do."""
    monkeypatch.setattr(triggers, "on_kill_timeout", lambda: 1.0)
    trigger, airflow.seconds = start("stuck"), 60.0

    async def killed() -> None:
        async with asyncio.timeout(1.0):  # Airflow's
            await trigger.on_kill()

    asyncio.run(killed())
    airflow.waiting.set()
    assert asked_to_cancel(empirical) == 0
    assert "could not be cancelled within 1 s. Cancel it on its page" in caplog.text


def test_airflow_says_how_long_a_kill_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `[triggerer] on_kill_timeout`, which is 30 s where nothing else is configured."""
    assert on_kill_timeout() == 30
    monkeypatch.setenv("AIRFLOW__TRIGGERER__ON_KILL_TIMEOUT", "7")
    assert on_kill_timeout() == 7


@only_where_airflow_tells
def test_what_a_kill_needs_is_warmed_up_once_when_a_trigger_begins(
    airflow: Airflow, start: Callable[..., EmpiricalTestRunTrigger]
) -> None:
    """The question that a kill asks is asked by the first trigger of a triggerer, not by each, and
    again by the next one if it failed; a trigger that cancels nothing asks nothing."""

    async def begin(*fields: dict[str, Any]) -> int:
        before = airflow.asked
        waiting = [asyncio.ensure_future(anext(start("stuck", **each).run())) for each in fields]
        await asyncio.sleep(0.5)  # each of them asks at once, if it does
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return airflow.asked - before

    later = {"first_poll_at": time.time() + 60}
    assert asyncio.run(begin({"cancel_on_kill": False, **later})) == 0
    airflow.failures = 1
    assert asyncio.run(begin(later)) == 1
    assert asyncio.run(begin(later, later, later)) == 1
    assert asyncio.run(begin(later)) == 0


@only_where_airflow_tells
def test_warming_up_holds_no_wait_up(
    airflow: Airflow, start: Callable[..., EmpiricalTestRunTrigger]
) -> None:
    """A run whose end is known has its event, also where Airflow could not be asked."""
    airflow.failures = 9
    assert event_of(start())["status"] == "verdict"


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
