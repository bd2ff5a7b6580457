"""How a task waits for a test run, and what it makes of the verdict: for operator and sensor.

The wait is the core's. The ways to wait differ in one thing only: in what the task does instead of
sleeping between two looks. It sleeps, or it defers, or (a sensor) has itself rescheduled. From the
first look to the end from outside, the parts share the task's state: so they stay in one module.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from empirical_provider.airflow import xcom
from empirical_provider.airflow.rendered import Given, as_field, refuse_nothing
from empirical_provider.airflow.versions import (
    continues_after_on_kill,
    default_deferrable,
    final,
    is_meant_to_run,
    started_at,
    timeout_spans_deferral,
)
from empirical_provider.exceptions import REJECTIONS, AlreadyFinishedError, EmpiricalError
from empirical_provider.wait_options import commit_to_expect

if TYPE_CHECKING:
    from empirical_provider.airflow.hooks import EmpiricalHook
    from empirical_provider.policy import GatePolicy
    from empirical_provider.verdict import Verdict

__all__ = ["WaitsForTestRun"]

log = logging.getLogger(__name__)

_CANCEL_TIMEOUT = 1.3
"""Seconds to connect, and then to respond, for a cancel: Airflow kills a task 5 s after SIGTERM."""

_KILL_LIMIT = 4.0
"""Seconds to ask Airflow whether a user has ended the task, and to cancel the run if so."""

_SLICE = 0.2
"""Seconds after which a sleeping task looks whether it has been ended."""


class WaitsForTestRun:
    """Mixin of the tasks that wait for a run; it stands before Airflow's base class."""

    empirical_conn_id: str
    policy: GatePolicy
    timeout: float
    start_timeout: float | None
    expect_commit: Any  # a text, True, False or None, once it is rendered
    deferrable: bool | None
    report_path: Any = None  # a Destination, once it is rendered
    _given: Given = MappingProxyType({})
    cancel_on_kill: bool = False
    cancel_on_timeout: bool = False
    on_retry_after_red: str = "fail"
    if TYPE_CHECKING:
        execution_timeout: timedelta | None
        outlets: list[Any]
        defer: Callable[..., Any]

    first_poll_delay: ClassVar[float] = 10.0
    """Seconds from the deferral to the trigger's first look (apache/airflow#67287)."""

    backstop: ClassVar[float] = 60.0
    """Seconds after the deadline at which Airflow itself ends a deferral whose trigger does not."""

    # What `on_kill` needs is here before it can be called: the connection is not looked up there.
    _hook: EmpiricalHook | None = None
    _run_id: int | None = None
    _ti: Any = None
    _killed: bool = False
    _ending: threading.Thread | None = None
    _asked_to_stop: bool = False
    _inside_of_another_task: bool = False

    def _awaited(self, context: Any) -> int:
        """Return the id of the run that the task waits for, also after a deferral."""
        raise NotImplementedError

    def _interval(self) -> float:
        """Return the seconds between two looks."""
        raise NotImplementedError

    def _expected_commit(self) -> str | None:
        """Return the commit that the run must have tested: never any where one was asked for."""
        refuse_nothing(self, self._given)
        return commit_to_expect(
            as_field("expect_commit", self.expect_commit),
            as_field("build", getattr(self, "build", None)),
        )

    def _connection(self) -> EmpiricalHook:
        """Return the hook, the same from the first time on."""
        if self._hook is None:
            from empirical_provider.airflow.hooks import EmpiricalHook

            self._hook = EmpiricalHook(self.empirical_conn_id)
        self._hook.secrets = self._secrets()
        return self._hook

    def _secrets(self) -> tuple[str, ...]:
        """Return the values of the task's overrides, which nothing that it reads may show."""
        return ()

    def _instead_of_sleeping(self, context: Any) -> Callable[[float], Any]:
        """Return what is done between two looks."""
        return (lambda pause: self._defer(context, pause)) if self._defers() else self._sleep

    def _defers(self) -> bool:
        if self._inside_of_another_task:
            return False
        return default_deferrable() if self.deferrable is None else self.deferrable

    # The wait

    def _gate(self, context: Any) -> Verdict:
        """Wait for the run in the way that was asked for; return once the gate is open.

        Executed by the function of a ``@task``, it is that task which Airflow would defer, and
        which knows nothing of what to do afterwards: so the wait holds the worker there.
        """
        if self._defers() and not isinstance(context.get("task", self), WaitsForTestRun):
            self._inside_of_another_task = True
            log.warning(
                "Empirical test run %s: the wait is not deferred, as %s is executed inside of task "
                "%s. Make it a task of its own to free the worker.",
                self._awaited(context),
                type(self).__name__,
                context["task"].task_id,
            )
        return self._conclude(context, self._wait(context, self._instead_of_sleeping(context)))

    def _wait(
        self, context: Any, sleep: Callable[[float], Any], *, elapsed: float = 0.0
    ) -> Verdict:
        """Wait for the run; ``elapsed`` are the seconds that are gone at least."""
        from empirical_provider.airflow.versions import AirflowTaskTimeout
        from empirical_provider.wait import wait_for_test_run

        run_id = self._awaited(context)
        self._ti, self._run_id = context["ti"], run_id
        with final():
            while True:
                try:
                    with self._connection().get_conn() as client:
                        return wait_for_test_run(
                            client,
                            run_id,
                            policy=self.policy,
                            poll_interval=self._interval(),
                            timeout=self._time_out(),
                            start_timeout=self.start_timeout,
                            expect_commit=self._expected_commit(),
                            elapsed=max(elapsed, time.time() - started_at(context)),
                            sleep=sleep,
                        )
                except AirflowTaskTimeout:
                    return self._unknown(context, "execution_timeout is up.")
                except REJECTIONS:
                    changed = self._connection().changed()
                    if changed is None:
                        raise
                    self._hook = changed

    def _time_out(self) -> float:
        """Return the seconds from the task's start to the deadline.

        It ends a little before ``execution_timeout``, which Airflow would enforce with a message
        that names no run; across a deferral Airflow does not count it at all, from 3.0 on.
        """
        return min(self.timeout, self._time_left(1.0))

    def _time_left(self, margins: float) -> float:
        """Return the seconds from the task's start to so many margins before Airflow ends it."""
        limit = self.execution_timeout.total_seconds() if self.execution_timeout else float("inf")
        return limit - margins * min(30.0, limit / 10)

    def _time_to_backstop(self) -> float:
        """Return the seconds from the deadline to the backstop.

        An Airflow that counts the deferral fails a task that it wakes after ``execution_timeout``
        without asking it. Its scheduler looks every 15 s only: so the backstop takes a quarter of
        the margin, and leaves the rest for that and for the last look.
        """
        if not timeout_spans_deferral():
            return self.backstop
        return min(self.backstop, self._time_left(0.75) - self._time_out())

    def _sleep(self, seconds: float) -> None:
        """Sleep, unless the task is ended meanwhile: Airflow 3 goes on with `execute` then."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._stop_if_killed()
            time.sleep(min(left, _SLICE))
        self._stop_if_killed()

    def _defer(self, context: Any, pause: float) -> None:
        """Leave the wait to the trigger."""
        from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger

        self._stop_if_killed()
        began, now = started_at(context), time.time()
        deadline = began + self._time_out()
        trigger = EmpiricalTestRunTrigger(
            test_run_id=self._awaited(context),
            empirical_conn_id=self.empirical_conn_id,
            started_at=began,
            deadline=deadline,
            start_deadline=None if self.start_timeout is None else began + self.start_timeout,
            poll_interval=self._interval(),
            policy=self.policy.as_dict(),
            first_poll_at=now + max(pause, self.first_poll_delay),
            cancel_on_kill=self.cancel_on_kill,
            expect_commit=self._expected_commit(),
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline - now) + self._time_to_backstop()),
        )

    def execute_complete(self, context: Any, event: Any = None) -> int:
        """Go on with what the trigger has found; return the run's id.

        An event that is not understood, such as one of another version, leads to a wait by the task
        itself.

        Raises:
            AirflowFailException: The tests failed; or there can be no verdict.
            GateClosedError: The gate stays closed for another reason.
            AirflowSkipException: The policy skips the task.
        """
        from empirical_provider.airflow.events import masked, verdict_of

        verdict = None
        with final():
            try:
                verdict = verdict_of(masked(event, self._secrets()))
            except ValueError as error:
                if isinstance(error, EmpiricalError):
                    raise
                log.warning(
                    "%s: the trigger's event is not understood: %s. The task polls the run itself.",
                    self._named(context),
                    error,
                )
        return self._conclude(context, verdict or self._wait(context, self._sleep)).run_id

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Go on after a deferral, also where Airflow has none of our events to go on with.

        Airflow's own time-out of the deferral leads to a last look. Where the trigger failed, the
        task goes on waiting itself: the run is under way, whatever became of the trigger.
        """
        if next_method != "__fail__":
            # Not by way of the base class: that of the sensors rewrites what is raised.
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        given = next_kwargs or {}
        why = str(given.get("error", "unknown"))
        log.error("%s: the deferral failed: %s", self._named(context), why)
        if given.get("traceback"):
            log.error("The trigger failed:\n%s", "\n".join(given["traceback"]))
        timed_out = "timeout" in why.lower()
        verdict = self._wait(context, self._sleep, elapsed=self._time_out() if timed_out else 0.0)
        return self._conclude(context, verdict).run_id

    # What comes of it

    def _conclude(self, context: Any, verdict: Verdict) -> Verdict:
        """Hand the verdict on, report it if asked to, and raise unless the gate is open."""
        from empirical_provider.airflow.exceptions import raise_if_closed
        from empirical_provider.airflow.telling import tell_outlets, tell_verdict
        from empirical_provider.policy import Outcome

        tell_verdict(context["ti"], verdict)
        if verdict.outcome == Outcome.TIMED_OUT and self.cancel_on_timeout:
            self._run_id = verdict.run_id
            self._cancel("The Airflow task that waited for it has timed out.")
        if self.report_path is not None:
            from empirical_provider.airflow.reports import write_verdict

            with final():
                write_verdict(self._connection(), verdict, self.report_path)
        raise_if_closed(verdict, retry_red=self.on_retry_after_red != "fail")
        tell_outlets(
            self.outlets,
            context,
            test_run_id=verdict.run_id,
            test_run_url=verdict.url,
            outcome=str(verdict.outcome),
            counts=verdict.as_dict()["counts"],
        )
        return verdict

    def _check_fields(self) -> None:
        """Refuse a commit that is none, and a path for no report, before any request."""
        self._expected_commit()
        if self.report_path is not None:
            from empirical_provider.airflow.reports import check_report_path

            check_report_path(self.report_path)

    def _unknown(self, context: Any, why: str) -> Verdict:
        """Return the verdict on a run that is not waited for any longer."""
        from empirical_provider.models import TestRun, TestRunState
        from empirical_provider.verdict import judge

        url = xcom.pull(context["ti"], xcom.TEST_RUN_URL)
        run = TestRun(id=self._awaited(context), state=TestRunState("unknown"), url=url)
        return judge(
            run,
            self.policy,
            elapsed_seconds=time.time() - started_at(context),
            timed_out=why,
            expect_commit=self._expected_commit(),
        )

    def _named(self, context: Any) -> str:
        """Name the run and its page in a message."""
        url = xcom.pull(context["ti"], xcom.TEST_RUN_URL)
        return f"Empirical test run {self._awaited(context)}{f' ({url})' if url else ''}"

    # The end from outside

    def on_kill(self) -> None:
        """Cancel the run, if that was asked for and a user has ended the task. It takes under 5 s.

        Airflow calls this on SIGTERM, which the process of a drained pod gets, too: so Airflow is
        asked whether the task is still meant to run. In a thread, as this is a signal handler: the
        code that it interrupts may hold locks that questions to Airflow need. Airflow 3 continues
        with `execute` afterwards, which waits for the thread at its next pause.
        """
        self._killed = True
        if self.cancel_on_kill and self._run_id is not None and self._ending is None:
            self._ending = threading.Thread(target=self._cancel_unless_meant_to_run, daemon=True)
            self._ending.start()
        if self._ending is not None and not continues_after_on_kill():
            self._ending.join(_KILL_LIMIT)

    def _cancel_unless_meant_to_run(self) -> None:
        try:
            leave, why = is_meant_to_run(self._ti), "Airflow still means the task to run"
        except Exception as error:  # noqa: BLE001  # whatever it is, no run is lost by it
            leave, why = True, f"whether a user has ended the task is unknown: {error!r}"
        if leave:
            log.warning("Test run %s is not cancelled: %s.", self._run_id, why)
        else:
            self._asked_to_stop = self._cancel("The Airflow task that waited for it was ended.")

    def _cancel(self, reason: str) -> bool:
        """Ask the service to cancel the run; return whether it will."""
        if self._run_id is None:
            return False
        try:
            with self._connection().get_conn(timeout=_CANCEL_TIMEOUT, retry_for=0) as client:
                client.cancel_test_run(self._run_id, reason=reason)
        except AlreadyFinishedError:
            log.info("Test run %s has finished already.", self._run_id)
        except EmpiricalError as error:
            log.warning("Test run %s could not be cancelled: %s", self._run_id, error)
        else:
            log.info("Test run %s is being cancelled: %s", self._run_id, reason)
            return True
        return False

    def _stop_if_killed(self) -> None:
        if self._killed:
            from empirical_provider.airflow.exceptions import EmpiricalTaskKilledError

            if self._ending is not None:
                self._ending.join(_KILL_LIMIT)
            left = "it was asked to stop" if self._asked_to_stop else "it goes on"
            raise EmpiricalTaskKilledError(
                f"Empirical test run {self._run_id}: the task that waited was ended; {left}.",
                run_id=self._run_id,
            )
