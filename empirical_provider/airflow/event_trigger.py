"""The trigger of an asset's watcher: an event for each test run that ends. Airflow 3.0 or newer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from empirical_provider import checks
from empirical_provider.airflow.triggers import known_part
from empirical_provider.airflow.versions import BaseEventTrigger, TriggerEvent
from empirical_provider.end_events import EndFilter

if TYPE_CHECKING:
    from datetime import timedelta

    from empirical_provider.airflow.watching import Watcher
    from empirical_provider.policy import GatePolicy
    from empirical_provider.verdict import Verdict

__all__ = ["EmpiricalTestRunEventTrigger"]

_ARGUMENTS = (
    "environment",
    "branch",
    "outcome",
    "policy",
    "poll_interval",
    "empirical_conn_id",
)

_STORED_WITHIN = 5.0
"""Seconds within which an event is taken to be stored, before 3.3, which says so. A guess; the
triggerer hands its events on once a second."""


class EmpiricalTestRunEventTrigger(BaseEventTrigger):
    """Fires an event for each test run that ends: the trigger of an ``AssetWatcher``.

    The event's payload is the verdict as a dict: outcome, decision, run_id, url, counts and so on;
    Airflow keeps it in the asset event's extra, as ``payload``. What has ended before the first
    look is past. After a restart it goes on where it was, by the asset's state store (before
    Airflow 3.3 by a Variable). Each end is told once; those of the last one or two seconds before
    a triggerer is killed may be told again, never lost (before 3.3: of the last five seconds).
    Watchers of one connection share their looks from 3.3 on.

    Args:
        environment: Slug of the environment, or a list of them; default: all.
        branch: Branch of the test repository, or a list of them; default: all.
        outcome: ``passed``, ``failed``, ``error``, ``cancelled``, ``superseded``, ``no_tests`` or
            ``incomplete``, or a list of them; default: all.
        policy: What the verdicts go by: a `GatePolicy`, or a mapping of its fields; by default only
            passed tests pass.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 30. Of those who
            share their looks, the shortest counts.
        empirical_conn_id: Id of the connection; default ``empirical_default``.
        stored: Whether the arguments are those that `serialize` has returned; default False. Then
            arguments and outcomes of the policy that this version does not know are ignored: a
            triggerer may be older than the DAG processor.
        **newer: Such arguments; without ``stored`` they are rejected.

    Raises:
        InvalidRequestError: An argument is not valid; the message names it.
    """

    def __init__(
        self,
        *,
        environment: str | Iterable[str] | None = None,
        branch: str | Iterable[str] | None = None,
        outcome: str | Iterable[str] | None = None,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        poll_interval: timedelta | float = 30.0,
        empirical_conn_id: str = "empirical_default",
        stored: bool = False,
        **newer: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        if not stored:
            checks.known_keys(type(self).__name__, newer, _ARGUMENTS)
        elif isinstance(policy, Mapping):
            policy = known_part(policy)
        checks.text("empirical_conn_id", empirical_conn_id)
        self._wanted = EndFilter(
            environment=environment, branch=branch, outcome=outcome, policy=policy
        )
        self.poll_interval = checks.seconds("poll_interval", poll_interval)
        self.empirical_conn_id = empirical_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of this class and its arguments, as Airflow stores them."""
        return (
            "empirical_provider.airflow.triggers.EmpiricalTestRunEventTrigger",
            {
                **self._wanted.as_dict(),
                "poll_interval": self.poll_interval,
                "empirical_conn_id": self.empirical_conn_id,
                "stored": True,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Share the looks with all who watch the same connection."""
        return ("empirical_test_runs", self.empirical_conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return the poll of the connection; Airflow makes one for all who share it."""
        from empirical_provider.airflow.watching import Poll

        return Poll(kwargs.get("empirical_conn_id", "empirical_default"))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncIterator[TriggerEvent]:
        """Make events of the shared looks."""
        from empirical_provider.airflow.watching import watchers_of

        watcher = self._watcher()
        await watcher.recall()
        with watchers_of(self.empirical_conn_id).joined_by(watcher):
            async for number, look in shared_stream:
                for verdict in watcher.hear(number, look):
                    yield _event(verdict)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look alone, where the host shares nothing."""
        from empirical_provider.airflow.watching import Poll, Watchers

        watcher, alone = self._watcher(), Watchers()
        await watcher.recall()
        with alone.joined_by(watcher):
            async with aclosing(Poll(self.empirical_conn_id, alone).open_stream()) as stream:
                async for (number, look), _ in stream:
                    for verdict in watcher.hear(number, look):
                        yield _event(verdict)
                    await asyncio.sleep(min(_STORED_WITHIN, self.poll_interval / 2))
                    await watcher.save(number)

    def _watcher(self) -> Watcher:
        from empirical_provider.airflow.remembering import Memory
        from empirical_provider.airflow.watching import Watcher

        store = getattr(self, "asset_state_store", None)
        identity = {**self._wanted.identity(), "poll_interval": self.poll_interval}
        memory = Memory(self.empirical_conn_id, identity, store)
        return Watcher(self._wanted, memory, self.poll_interval)


def _event(verdict: Verdict) -> TriggerEvent:
    return TriggerEvent(verdict.as_dict())  # type: ignore[no-untyped-call]  # as above
