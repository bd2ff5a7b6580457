"""The trigger: the wait of a deferred task, in Airflow's triggerer. That of assets is another one.

Paths and arguments of both are stored in users' databases: they are public for ever. A new argument
needs a default, and one of a newer version is ignored: a triggerer may be older than its workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from empirical_provider.airflow import xcom
from empirical_provider.airflow.events import event_of_error, event_of_verdict
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.versions import (
    BaseTrigger,
    TriggerEvent,
    in_async,
    is_deferred,
    on_kill_timeout,
    read_xcom,
)
from empirical_provider.exceptions import REJECTIONS, AlreadyFinishedError, EmpiricalError

if TYPE_CHECKING:
    from empirical_provider.airflow.event_trigger import EmpiricalTestRunEventTrigger
    from empirical_provider.verdict import Verdict

__all__ = ["EmpiricalTestRunEventTrigger", "EmpiricalTestRunTrigger"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_KILL_SHARE = 0.9
"""The part of Airflow's limit for `on_kill` that is used: our own warning comes before its."""

_CANCEL_TIMEOUT = 4.0
"""Seconds to connect, and then to respond, for each of two attempts to cancel a run."""

_BETWEEN_ATTEMPTS = 1.0
"""Seconds between the two attempts."""

_warm = False
"""Whether this triggerer has asked Airflow what `on_kill` asks it: the first time is slow."""


def __getattr__(name: str) -> Any:
    """Load the other trigger on first use: Airflow 2 has no base for it."""
    if name != "EmpiricalTestRunEventTrigger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical_provider.airflow.event_trigger import EmpiricalTestRunEventTrigger

    return EmpiricalTestRunEventTrigger


class EmpiricalTestRunTrigger(BaseTrigger):
    """Waits for a test run and fires one event: its verdict, or why there can be none.

    Looks that fail are survived until the deadline. All arguments are plain data, and none is
    secret: the API key stays in the connection. Times are seconds since the epoch, so that a
    triggerer that starts again goes on with the time that is left.

    Args:
        test_run_id: Database id of the run.
        empirical_conn_id: Id of the connection.
        started_at: When the task began to wait.
        deadline: When to stop waiting.
        start_deadline: When the run must have left pending and queued; None: any time.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        policy: What the verdict goes by, as plain data; None: the default policy.
        first_poll_at: When to look first; default: at once. An event within seconds of the
            deferral can fail the task on Airflow 3.3 (apache/airflow#67287).
        cancel_on_kill: Whether to cancel the run when a person ends the deferred task (marks it or
            its DAG run, or clears it), which Airflow tells a trigger from 3.3 on; default True.
        expect_commit: The commit that must have been tested; default: any.
        **newer: Arguments that a newer version of this package has stored; they are ignored, and
            so are outcomes in the policy that this version does not know.
    """

    def __init__(
        self,
        *,
        test_run_id: int,
        empirical_conn_id: str,
        started_at: float,
        deadline: float,
        start_deadline: float | None = None,
        poll_interval: float = 10.0,
        policy: Mapping[str, Any] | None = None,
        first_poll_at: float = 0.0,
        cancel_on_kill: bool = True,
        expect_commit: str | None = None,
        **newer: Any,  # noqa: ARG002  # named in the reference
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        self.test_run_id = test_run_id
        self.empirical_conn_id = empirical_conn_id
        self.started_at = started_at
        self.deadline = deadline
        self.start_deadline = start_deadline
        self.poll_interval = poll_interval
        self.policy = None if policy is None else known_part(policy)
        self.first_poll_at = first_poll_at
        self.cancel_on_kill = cancel_on_kill
        self.expect_commit = expect_commit
        self._hook = EmpiricalHook(empirical_conn_id)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of this class and its arguments, as Airflow stores them."""
        return (
            "empirical_provider.airflow.triggers.EmpiricalTestRunTrigger",
            {
                "test_run_id": self.test_run_id,
                "empirical_conn_id": self.empirical_conn_id,
                "started_at": self.started_at,
                "deadline": self.deadline,
                "start_deadline": self.start_deadline,
                "poll_interval": self.poll_interval,
                "policy": None if self.policy is None else dict(self.policy),
                "first_poll_at": self.first_poll_at,
                "cancel_on_kill": self.cancel_on_kill,
                "expect_commit": self.expect_commit,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event.

        The client is closed on every way out. A cancellation gets through and leaves the run as it
        is: it may be only the triggerer that is going down.
        """
        warm_up = asyncio.ensure_future(self._warm_up())
        try:
            await asyncio.sleep(max(0.0, self.first_poll_at - time.time()))
            yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]
        finally:
            warm_up.cancel()

    async def _warm_up(self) -> None:
        """Ask Airflow once, without need, what `on_kill` will ask it.

        The first question builds Airflow's API in the triggerer, which takes 6 s of CPU and more on
        a machine with work to do: too long for a task that a user has just ended.
        """
        global _warm  # noqa: PLW0603  # it is the process that is warm
        needless = not self.cancel_on_kill or self.task_instance is None
        if _warm or needless or not hasattr(BaseTrigger, "on_kill"):  # it is there from 3.3 on
            return
        _warm = True
        try:
            await self._waits_elsewhere()
        except BaseException as error:
            _warm = False
            if not isinstance(error, Exception):
                raise
            log.debug("Airflow could not be asked for the state of the task yet: %r", error)

    async def _wait(self) -> dict[str, Any]:
        try:
            while True:
                try:
                    return event_of_verdict(await self._verdict(await self._hook.aget_settings()))
                except REJECTIONS:
                    changed = await self._hook.achanged()
                    if changed is None:
                        raise
                    self._hook = changed
        except EmpiricalError as error:
            return event_of_error(error)

    async def _verdict(self, settings: dict[str, Any]) -> Verdict:
        """Wait together with all triggers of this triggerer that use the same settings."""
        from empirical_provider.polling import shared_client
        from empirical_provider.wait import await_for_test_run

        start = self.start_deadline
        async with shared_client(self.test_run_id, **settings) as client:
            return await await_for_test_run(
                client,
                self.test_run_id,
                policy=self.policy,
                poll_interval=self.poll_interval,
                timeout=self.deadline - self.started_at,
                start_timeout=None if start is None else start - self.started_at,
                expect_commit=self.expect_commit,
                elapsed=max(0.0, time.time() - self.started_at),
            )

    async def on_kill(self) -> None:
        """Cancel the run if a user has ended the task, within most of the time that Airflow gives.

        Airflow calls this, too, when another triggerer has taken the trigger over because this one
        has seemed dead for a while: then the task is still deferred, and its run is left alone.
        """
        if not self.cancel_on_kill:
            return
        limit = _KILL_SHARE * on_kill_timeout()
        try:
            async with asyncio.timeout(limit):
                if await self._is_still_awaited():
                    return
                await self._cancel()
        except TimeoutError:
            log.warning(
                "Test run %s could not be cancelled within %.0f s. Cancel it on its page, or by "
                "empirical-provider cancel.",
                self.test_run_id,
                limit,
            )

    async def _cancel(self) -> None:
        try:
            await _with_second_attempt(self._ask_to_cancel)
        except AlreadyFinishedError:
            log.info("Test run %s has finished already.", self.test_run_id)
        except EmpiricalError as error:
            log.warning("Test run %s could not be cancelled: %s", self.test_run_id, error)
        else:
            log.info("Test run %s is being cancelled: the task was ended.", self.test_run_id)

    async def _ask_to_cancel(self) -> None:
        async with await self._hook.aget_conn(timeout=_CANCEL_TIMEOUT, retry_for=0) as client:
            await client.cancel_test_run(
                self.test_run_id, reason="The Airflow task that waited for it was ended."
            )

    async def _is_still_awaited(self) -> bool:
        """Return whether the task waits for the run elsewhere; where that is unknown, it may."""
        if self.task_instance is None:
            return False
        try:
            waits_elsewhere = await _with_second_attempt(self._waits_elsewhere)
        except Exception as error:  # noqa: BLE001  # whatever it is, no run is lost by it
            log.warning(
                "Test run %s is not cancelled: whether its task was ended is unknown: %r",
                self.test_run_id,
                error,
            )
            return True
        if waits_elsewhere:
            log.info("Another triggerer waits for test run %s now.", self.test_run_id)
        return waits_elsewhere

    async def _waits_elsewhere(self) -> bool:
        """Ask Airflow whether the task is deferred, and for this run.

        A task that was cleared can be deferred again by now; it waits for another run then.
        """
        ti = self.task_instance

        def ask() -> bool:
            return is_deferred(ti) and read_xcom(ti, xcom.TEST_RUN_ID) == self.test_run_id

        return await in_async(ask)


async def _with_second_attempt(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what the attempt returns, the second one if the first fails and a retry may help."""
    try:
        return await attempt()
    except Exception as error:
        if isinstance(error, EmpiricalError) and not error.may_pass:
            raise
    await asyncio.sleep(_BETWEEN_ATTEMPTS)
    return await attempt()


def known_part(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this version knows of a policy that another one may have stored."""
    from empirical_provider.policy import GatePolicy

    known = GatePolicy().as_dict()
    return {name: value for name, value in policy.items() if name in known}
