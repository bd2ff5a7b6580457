"""The trigger: the wait of a deferred task, in Airflow's triggerer. That of assets is another one.

Paths and arguments of both are stored in users' databases: they are public for ever. A new argument
needs a default.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow import xcom
from empirical_provider.airflow.events import event_of_error, event_of_verdict
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.versions import (
    BaseTrigger,
    TriggerEvent,
    in_async,
    is_deferred,
    read_xcom,
)
from empirical_provider.exceptions import AuthenticationError, EmpiricalError

if TYPE_CHECKING:
    from empirical_provider.airflow.event_trigger import EmpiricalTestRunEventTrigger
    from empirical_provider.verdict import Verdict

__all__ = ["EmpiricalTestRunEventTrigger", "EmpiricalTestRunTrigger"]

log = logging.getLogger(__name__)

_CANCEL_WITHIN = 3.0
"""Seconds for the one cancel call, the connection's look-up included."""


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
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        self.test_run_id = test_run_id
        self.empirical_conn_id = empirical_conn_id
        self.started_at = started_at
        self.deadline = deadline
        self.start_deadline = start_deadline
        self.poll_interval = poll_interval
        self.policy = policy
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
        await asyncio.sleep(max(0.0, self.first_poll_at - time.time()))
        yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        refused: tuple[dict[str, Any], AuthenticationError] | None = None
        while True:
            try:
                settings = await self._hook.aget_settings()
                if refused is not None and refused[0] == settings:
                    return event_of_error(refused[1])
                return event_of_verdict(await self._verdict(settings))
            except AuthenticationError as error:
                refused = settings, error
                # The key may have been replaced meanwhile: the connection is read anew.
                self._hook = EmpiricalHook(self.empirical_conn_id)
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
        """Cancel the run if a person has ended the task. One call, within 3 s.

        Airflow calls this, too, when another triggerer has taken the trigger over because this one
        has seemed dead for a while: then the task is still deferred, and its run is left alone.
        """
        if not self.cancel_on_kill or await self._was_taken_over():
            return
        try:
            async with (
                asyncio.timeout(_CANCEL_WITHIN),
                await self._hook.aget_conn(timeout=_CANCEL_WITHIN, retry_for=0) as client,
            ):
                await client.cancel_test_run(
                    self.test_run_id, reason="The Airflow task that waited for it was ended."
                )
        except (EmpiricalError, TimeoutError) as error:
            log.warning("Test run %s could not be cancelled: %s", self.test_run_id, error)
        else:
            log.info("Test run %s is being cancelled: the task was ended.", self.test_run_id)

    async def _was_taken_over(self) -> bool:
        """Say whether the task waits on elsewhere; where that cannot be told, it may.

        A task that was cleared can be deferred again by now; it waits for another run then.
        """
        ti = self.task_instance
        if ti is None:
            return False

        def waits_for_this_run() -> bool:
            return is_deferred(ti) and read_xcom(ti, xcom.TEST_RUN_ID) == self.test_run_id

        try:
            async with asyncio.timeout(_CANCEL_WITHIN):
                waits_on = await in_async(waits_for_this_run)
        except Exception as error:  # noqa: BLE001  # whatever it is, no run is lost by it
            log.warning(
                "Test run %s is not cancelled: whether its task was ended is not known: %r",
                self.test_run_id,
                error,
            )
            return True
        if waits_on:
            log.info("Another triggerer waits for test run %s now.", self.test_run_id)
        return waits_on
