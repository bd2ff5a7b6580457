"""How a wait ends from outside: a kill, Airflow's time-outs, a trigger that failed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider.airflow import waiting
from empirical_provider.airflow.exceptions import (
    EmpiricalTaskKilledError,
    EmpiricalTestsFailedError,
    EmpiricalWaitTimedOutError,
)
from tests.airflow.standins import (
    AIRFLOW,
    AirflowTaskTimeout,
    Store,
    TaskDeferred,
    TaskInstance,
    again,
    context_of,
    gate,
    run,
    sensor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once")


def asked(empirical: Emulator, endpoint: str) -> int:
    return sum(each.endpoint == endpoint for each in empirical.requests)


def kill(task: Any) -> None:
    """End a task as Airflow does, and wait for what comes of it."""
    task.on_kill()
    task._ending.join(60)


@contextlib.contextmanager
def terminated(task: Any, empirical: Emulator, *, once: str) -> Iterator[None]:
    """Send this process SIGTERM when a request has come in; handle it as Airflow 3 does.

    After a poll the signal comes while the task sleeps. Where it interrupted a line of the log, the
    thread that cancels the run would wait for that with its own lines, and the handler for it.
    """

    def sleeps() -> bool:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        return frame is not None and frame.f_code is waiting.WaitsForTestRun._sleep.__code__

    def send() -> None:
        end = time.monotonic() + 60
        while not (asked(empirical, once) and (once != "get_test_run" or sleeps())):
            if time.monotonic() > end:
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        signal.signal(signal.SIGTERM, before)


def deferred(ti: TaskInstance, **fields: Any) -> Any:
    """Return a task that has deferred, as the process has it that goes on with it."""
    task = gate(deferrable=True, **fields)
    with pytest.raises(TaskDeferred):
        task.execute(context_of(ti))
    return again(task)


ENDED_BY_A_USER = ("failed", "success", "skipped", "removed", "upstream_failed", "restarting", None)
MEANT_TO_RUN = ("running", "up_for_retry", "scheduled", "queued", "deferred", "up_for_reschedule")


class Unknown(TaskInstance):
    """A task instance that Airflow says nothing of."""

    def get_task_states(self, **_: Any) -> Any:
        raise ConnectionError("the API server is away")


class Gone(TaskInstance):
    """A task instance that Airflow does not know."""

    def get_task_states(self, **_: Any) -> Any:
        return {}


def instance(state: str | None) -> TaskInstance:
    """Return a task instance in a state."""
    kinds = {"unknown": Unknown, "gone": Gone}
    ti = kinds.get(str(state), TaskInstance)()
    ti.state = state
    return ti


@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize("state", [*ENDED_BY_A_USER, *MEANT_TO_RUN, "unknown", "gone"])
def test_sigterm_cancels_the_run_only_where_a_user_has_ended_the_task(
    state: str | None, cancel: bool, empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends the wait at once, although `execute` continues. It makes one cancel call where
    Airflow says that a user has ended the task: the pod of a worker may only be drained."""
    assert waiting._KILL_LIMIT < 5  # then Airflow kills the process
    monkeypatch.setattr(waiting, "_KILL_LIMIT", 20.0)  # a loaded machine may take longer
    empirical.script("staging", "stuck")
    task = gate(poll_interval=90, cancel_on_kill=cancel)
    began = time.monotonic()
    with (
        terminated(task, empirical, once="get_test_run"),
        pytest.raises(EmpiricalTaskKilledError) as error,
    ):
        run(task, instance(state))
    assert time.monotonic() - began < 60
    assert error.value.run_id == empirical.runs[0].id
    asked_to_stop = cancel and state in ENDED_BY_A_USER
    assert asked(empirical, "cancel_test_run") == int(asked_to_stop)
    assert ("it was asked to stop" if asked_to_stop else "it goes on") in str(error.value)


def test_a_retry_after_a_drained_worker_reattaches(empirical: Emulator) -> None:
    """The run that was left alone is the one that the next try waits for."""
    empirical.script("staging", "stuck")
    ti, store = TaskInstance(max_tries=1), Store()
    task = gate(poll_interval=90, retries=1)
    with (
        terminated(task, empirical, once="get_test_run"),
        pytest.raises(EmpiricalTaskKilledError, match="it goes on"),
    ):
        run(task, ti, task_state_store=store)
    empirical.set_state(empirical.runs[0].id, "ended")
    assert run(again(task), ti.retried(), task_state_store=store) == empirical.runs[0].id
    assert len(empirical.runs) == 1


def test_a_kill_does_not_wait_for_a_lock_that_it_has_interrupted(
    empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler interrupts whatever the task does, also a question to Airflow, under whose lock
    it could wait for ever: it returns, and the run is cancelled once the lock is free."""
    lock = threading.Lock()

    class Asking(TaskInstance):
        state = "failed"

        def get_task_states(self, **asked: Any) -> Any:
            with lock:
                return super().get_task_states(**asked)

    monkeypatch.setattr(waiting, "_KILL_LIMIT", 0.2)
    empirical.script("staging", "stuck")
    task = gate(timeout=0.1, policy={"timed_out": "pass"})
    run(task, Asking())
    with lock:
        task.on_kill()
        assert asked(empirical, "cancel_test_run") == 0
    kill(task)
    assert asked(empirical, "cancel_test_run") == 1


def test_a_kill_while_the_run_is_being_started_cancels_it_afterwards(empirical: Emulator) -> None:
    """A run whose id was unknown at the kill is cancelled, once, as soon as the id is known."""
    empirical.fault("trigger", "delay", when="after", delay=0.5)
    task = gate(wait_for_completion=False)
    with (
        terminated(task, empirical, once="trigger"),
        pytest.raises(EmpiricalTaskKilledError),
    ):
        run(task, instance("failed"))
    assert asked(empirical, "cancel_test_run") == 1
    assert empirical.runs[0].state in {"cancelling", "cancelled"}


@pytest.mark.parametrize("effect", ["status", "delay"])
def test_a_cancel_call_is_made_once_and_is_short(effect: str, empirical: Emulator) -> None:
    """Airflow kills the process 5 s after SIGTERM: there is one short call and no retry."""
    assert 2 * waiting._CANCEL_TIMEOUT < 3  # to connect, and to answer
    empirical.script("staging", "stuck")
    more: dict[str, Any] = {"status": 503} if effect == "status" else {"delay": 60}
    empirical.fault("cancel_test_run", effect, times=None, **more)
    task = gate(timeout=0.1, policy={"timed_out": "pass"})
    run(task, instance("failed"))
    began = time.monotonic()
    kill(task)
    assert time.monotonic() - began < 30
    assert asked(empirical, "cancel_test_run") == 1


def test_a_kill_does_not_look_the_connection_up(
    empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no time for it: the connection is known by then."""
    empirical.script("staging", "stuck")
    task = gate(timeout=0.1, policy={"timed_out": "pass"})
    run(task, instance("failed"))
    monkeypatch.delenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT")
    kill(task)
    assert asked(empirical, "cancel_test_run") == 1


def test_a_killed_sensor_leaves_the_run_alone(empirical: Emulator) -> None:
    """A sensor did not start the run, so it does not cancel it, but it stops waiting."""
    empirical.script("staging", "stuck")
    ti = TaskInstance()
    run(gate(wait_for_completion=False), ti)
    task = sensor(test_run_id=ti.xcoms["test_run_id"], poke_interval=60, deferrable=False)
    with (
        terminated(task, empirical, once="get_test_run"),
        pytest.raises(EmpiricalTaskKilledError, match="it goes on"),
    ):
        run(task, TaskInstance())
    assert asked(empirical, "cancel_test_run") == 0


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("cancel", [False, True])
def test_our_own_time_out_cancels_only_where_asked(
    deferrable: bool, cancel: bool, empirical: Emulator
) -> None:
    """A wait that times out leaves the run alone unless cancel_on_timeout is set."""
    empirical.script("staging", "stuck")
    with pytest.raises(EmpiricalWaitTimedOutError):
        run(gate(deferrable=deferrable, timeout=0.2, cancel_on_timeout=cancel), TaskInstance())
    assert asked(empirical, "cancel_test_run") == int(cancel)


@pytest.mark.parametrize("deferrable", [False, True])
def test_execution_timeout_counts_across_the_deferral(
    deferrable: bool, empirical: Emulator
) -> None:
    """The shorter of the two limits ends the wait, from the task's start and just before it."""
    empirical.script("staging", "stuck")
    ti = TaskInstance()
    ti.start_date -= timedelta(seconds=99)
    task = gate(deferrable=deferrable, execution_timeout=timedelta(seconds=110.5))
    began = time.monotonic()
    with pytest.raises(EmpiricalWaitTimedOutError) as error:
        run(task, ti)
    assert time.monotonic() - began < 30
    assert "the time-out is 99.45 s" in str(error.value)
    assert error.value.run_url in str(error.value)


def test_the_deferral_has_a_later_backstop() -> None:
    """Airflow's own limit of the deferral lies behind the trigger's deadline."""
    with pytest.raises(TaskDeferred) as caught:
        gate(deferrable=True, timeout=100).execute(context_of(TaskInstance()))
    assert timedelta(seconds=140) < caught.value.timeout <= timedelta(seconds=160)


@pytest.mark.parametrize(
    ("limits", "before_3", "from_3"),
    [
        ({"timeout": 7200}, 7260, 7260),
        ({"execution_timeout": timedelta(seconds=600)}, 577.5, 630),
        ({"execution_timeout": timedelta(seconds=100)}, 92.5, 150),
        ({"timeout": 100, "execution_timeout": timedelta(seconds=600)}, 160, 160),
        ({"timeout": 560, "execution_timeout": timedelta(seconds=600)}, 577.5, 620),
    ],
)
def test_the_backstop_leaves_time_for_a_last_look(
    limits: dict[str, Any], before_3: float, from_3: float
) -> None:
    """Where execution_timeout spans a deferral, Airflow wakes the task before that is up, and after
    our own deadline; elsewhere the backstop needs no such care."""
    task = gate(deferrable=True, **limits)
    ti = TaskInstance()
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context_of(ti))
    earliest, latest = (
        (at - ti.start_date + caught.value.timeout).total_seconds()
        for at in (before, datetime.now(UTC))
    )
    assert earliest <= (before_3 if AIRFLOW < (3, 0) else from_3) <= latest


def test_airflows_alarm_in_a_sync_wait_names_the_run(
    empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Airflow's alarm comes first after all, its text is ours, and the run goes on; a branch
    behind it learns which commit was expected."""
    empirical.script("staging", "stuck")
    task, ti = gate(expect_commit="0" * 40), TaskInstance()

    def alarm(_: float) -> None:
        raise AirflowTaskTimeout("Timeout, PID: 1")

    monkeypatch.setattr(time, "sleep", alarm)
    with pytest.raises(EmpiricalWaitTimedOutError, match="execution_timeout is up") as error:
        run(task, ti)
    assert error.value.run_id == empirical.runs[0].id
    assert ti.xcoms["test_run_url"] in str(error.value)
    assert ti.xcoms["verdict"]["expected_commit"] == "0" * 40
    assert asked(empirical, "cancel_test_run") == 0


def test_airflows_time_out_of_the_deferral_leads_to_a_last_look(empirical: Emulator) -> None:
    """The message names run and page; a run that has finished meanwhile still counts."""
    empirical.script("staging", "stuck")
    ti = TaskInstance()
    task, failed = deferred(ti), {"error": "Trigger timeout"}
    looks = asked(empirical, "get_test_run")
    with pytest.raises(EmpiricalWaitTimedOutError) as error:
        task.resume_execution("__fail__", failed, context_of(ti))
    assert asked(empirical, "get_test_run") == looks + 1
    assert ti.xcoms["test_run_url"] in str(error.value)
    empirical.set_state(empirical.runs[0].id, "ended")
    run_id = again(task).resume_execution("__fail__", failed, context_of(ti))
    assert run_id == empirical.runs[0].id


def test_a_trigger_that_failed_does_not_lose_the_run(
    empirical: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The task goes on waiting by itself, and the log has the trigger's traceback and the page."""
    empirical.script("staging", "failed")
    ti = TaskInstance()
    task = deferred(ti)
    failed = {"error": "Trigger failure", "traceback": ["Traceback", "ImportError: no module"]}
    with pytest.raises(EmpiricalTestsFailedError):
        task.resume_execution("__fail__", failed, context_of(ti))
    assert "ImportError: no module" in caplog.text
    assert ti.xcoms["test_run_url"] in caplog.text
    assert len(empirical.runs) == 1
