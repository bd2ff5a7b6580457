"""The users of the package in a scene: waits for runs, and attempts to start one."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    EmpiricalError,
    TestRunRequest,
    TriggerRejectedError,
    atrigger_test_run,
    await_for_test_run,
    trigger_test_run,
    wait_for_test_run,
)
from empirical_provider.polling import shared_client
from empirical_provider.trigger_once import TriggerOnce
from tests.simulator.machine import ACTOR, Endless, Killed, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from empirical_provider import Verdict
    from tests.simulator.service import Service

__all__ = ["Attempt", "Waiter"]

_WAIT_NAMES = inspect.signature(wait_for_test_run).parameters
_COMMIT = "expected_commit" if "expected_commit" in _WAIT_NAMES else "expect_commit"
_ONCE_FIELDS = {each.name for each in dataclasses.fields(TriggerOnce)}


class _Rescheduled(BaseException):
    def __init__(self, pause: float) -> None:
        super().__init__(pause)
        self.pause = pause


@dataclass
class Heard:
    """How a wait or an attempt came out."""

    at: float
    run_id: int | None = None
    outcome: str | None = None
    decision: str | None = None
    failed_tests: tuple[str, ...] = ()
    summary: str = ""
    error: BaseException | None = None
    is_ours: bool = False
    """Whether the error is one of the package's."""
    rejected_run: int | None = None
    """The run that a rejection names."""

    @classmethod
    def of_error(cls, at: float, run_id: int | None, error: BaseException) -> Heard:
        rejected = error.run_id if isinstance(error, TriggerRejectedError) else None
        is_ours = isinstance(error, EmpiricalError)
        return cls(at, run_id, error=error, is_ours=is_ours, rejected_run=rejected)

    def __str__(self) -> str:
        if self.error is not None:
            return f"{type(self.error).__name__}: {str(self.error)[:300]}"
        return f"run {self.run_id} {self.outcome or ''} {self.decision or ''} {self.summary}"


@dataclass
class Waiter:
    """A wait for one run, which may be killed and begun again.

    ``mode`` is sync, async, shared, or reschedule: each poll in a new client.
    """

    label: str
    run_id: int
    mode: str
    begins: float
    timeout: float
    poll_interval: float
    settings: dict[str, Any]
    start_timeout: float | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    expected_commit: str | None = None
    kills: list[tuple[float, float]] = field(default_factory=list)
    """When it is killed, and for how many seconds it is away."""
    delay: float = 0.0
    """Seconds by which an orchestrator is late to start the next poll, in mode reschedule."""
    segments: list[float] = field(default_factory=list)
    """When it has begun, and begun again."""
    heard: Heard | None = None

    @property
    def deadline(self) -> float:
        return self.begins + self.timeout

    def _options(self, now: float) -> dict[str, Any]:
        return {
            "policy": self.policy or None,
            "poll_interval": self.poll_interval,
            "timeout": self.timeout,
            "start_timeout": self.start_timeout,
            _COMMIT: self.expected_commit,
            "elapsed": max(0.0, now - self.begins),
        }

    def _hear(self, now: float, found: Verdict | BaseException) -> None:
        if isinstance(found, BaseException):
            self.heard = Heard.of_error(now, self.run_id, found)
            return
        self.heard = Heard(
            now,
            found.run_id,
            str(found.outcome),
            str(found.decision),
            tuple(found.failed_tests),
            found.summary,
        )

    def play(self, machine: Machine) -> None:
        """Wait in this thread."""
        ACTOR.set(self.label)
        machine.now = max(machine.now, self.begins)
        kills = list(self.kills)
        while self.heard is None:
            self.segments.append(machine.now)
            machine.kill_at = kills[0][0] if kills else None
            try:
                with EmpiricalClient(**self.settings) as client:
                    options = self._options(machine.now)
                    if self.mode == "reschedule":
                        options["sleep"] = _reschedule
                    verdict = wait_for_test_run(client, self.run_id, **options)
                self._hear(machine.now, verdict)
            except _Rescheduled as again:
                machine.kill_at = None
                machine.sleep(again.pause + self.delay)
            except Killed:
                machine.now += kills.pop(0)[1]
            except Endless as error:
                self._hear(machine.now, error)
            except Exception as error:  # noqa: BLE001  # the oracle looks at it
                self._hear(machine.now, error)
        machine.kill_at = None

    async def aplay(self, machine: Machine) -> None:
        """Wait in this event loop."""
        ACTOR.set(self.label)
        await asyncio.sleep(self.begins - machine.now)
        for at, away in [*self.kills, (None, 0.0)]:
            self.segments.append(machine.now)
            task = asyncio.ensure_future(self._wait(machine.now))
            left = None if at is None else max(0.0, at - machine.now)
            done, _ = await asyncio.wait({task}, timeout=left)
            if done:
                break
            task.cancel()
            await asyncio.wait({task})
            await asyncio.sleep(away)
        try:
            self._hear(machine.now, task.result())
        except asyncio.CancelledError as error:
            self._hear(machine.now, error)
        except Exception as error:  # noqa: BLE001  # the oracle looks at it
            self._hear(machine.now, error)

    async def _wait(self, now: float) -> Verdict:
        if self.mode == "shared":
            async with shared_client(self.run_id, **self.settings) as client:
                return await await_for_test_run(client, self.run_id, **self._options(now))
        async with AsyncEmpiricalClient(**self.settings) as client:
            return await await_for_test_run(client, self.run_id, **self._options(now))


def _reschedule(pause: float) -> None:
    raise _Rescheduled(pause)


@dataclass
class Attempt:
    """An attempt to start a run, and what it leaves to later ones."""

    label: str
    wish: str
    request: dict[str, Any]
    settings: dict[str, Any]
    begins: float = 0.0
    """For concurrent ones: when; otherwise the seconds after the one before."""
    key: str | None = None
    """A key of the user's own, as a string."""
    once: dict[str, Any] | None = None
    """Fields of `TriggerOnce`, as orchestrators fill them."""
    in_overrides: bool | None = None
    """Whether the key travels in the overrides; None: the default."""
    store: bool = True
    """Whether there is a store for what the next attempt needs to know."""
    kill_at_save: int = 0
    """The save at which the process ends, 1 for the first; 0: none. It has been saved by then."""
    kill_at_started: bool = False
    mode: str = "sync"
    expects_run: bool = True
    """Whether it must come to a run where no request is harmed but those to start one."""
    is_first: bool = True
    is_certain: bool = False
    """Whether all runs that are listed are known to this process."""
    began: float = 0.0
    ended: float = 0.0
    saves: int = 0
    announced: list[int] = field(default_factory=list)
    heard: Heard | None = None
    """None: it was killed."""

    @property
    def has_key(self) -> bool:
        return self.key is not None or self.once is not None

    def _arguments(self, memory: dict[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {"on_started": self._announce}
        if self.once is not None:
            fields = dict(self.once)
            if fields.get("tried_since") == "first":
                fields["tried_since"] = memory["first"]
            if self.in_overrides is not None:
                fields["key_in_environment"] = self.in_overrides
            if self.store:
                fields["saved"] = memory.get("record")
            arguments["key"] = TriggerOnce(
                **{name: each for name, each in fields.items() if name in _ONCE_FIELDS}
            )
        elif self.key is not None:
            arguments["key"] = self.key
            if self.in_overrides is not None:
                arguments["key_in_environment"] = self.in_overrides
        return arguments

    def _announce(self, run: Any) -> None:
        self.announced.append(run.id)
        if self.kill_at_started:
            raise Killed

    def _saver(self, memory: dict[str, Any]) -> Callable[[Mapping[str, Any] | None], None]:
        def save(record: Mapping[str, Any] | None) -> None:
            self.saves += 1
            memory["record"] = None if record is None else dict(record)
            if self.saves == self.kill_at_save:
                raise Killed

        return save

    def _hear(self, now: float, found: Any) -> None:
        if isinstance(found, BaseException):
            self.heard = Heard.of_error(now, None, found)
        else:
            self.heard = Heard(now, found.id)

    def play(self, machine: Machine, memory: dict[str, Any]) -> None:
        """Start the run in this thread; ``memory`` holds what attempts leave to later ones."""
        ACTOR.set(self.label)
        self.began = machine.now
        memory.setdefault("first", machine.wall())
        try:
            with EmpiricalClient(**self.settings) as client:
                request = TestRunRequest(**self.request)
                arguments = self._arguments(memory)
                if self.store and self.once is not None:
                    arguments["save"] = self._saver(memory)
                self._hear(machine.now, trigger_test_run(client, request, **arguments))
        except Killed:
            pass
        except Endless as error:
            self._hear(machine.now, error)
        except Exception as error:  # noqa: BLE001  # the oracle looks at it
            self._hear(machine.now, error)
        self.ended = machine.now
        if self.heard is not None:
            self.heard.at = machine.now

    async def aplay(self, machine: Machine, memory: dict[str, Any], service: Service) -> None:
        """Start the run in this event loop."""
        ACTOR.set(self.label)
        await asyncio.sleep(self.begins)
        self.began = machine.now
        save = self._saver(memory)

        async def asave(record: Mapping[str, Any] | None) -> None:
            save(record)

        try:
            async with AsyncEmpiricalClient(**self.settings) as client:
                request = TestRunRequest(**self.request)
                arguments = self._arguments(memory)
                if self.store and self.once is not None:
                    arguments["save"] = asave
                self._hear(machine.now, await atrigger_test_run(client, request, **arguments))
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001  # the oracle looks at it
            self._hear(machine.now, error)
        self.ended = machine.now
        if self.heard is not None:
            self.heard.at = machine.now
        service.catch_up()
