"""What goes wrong with the service while somebody waits for a run, and what must become of it.

Each fault has a local Empirical to itself, as an Empirical that fails does so for everybody. Both
hosts wait through all of them at the same time, each with a task or a flow of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import formatdate

from empirical_provider import EmpiricalClient, TestRunRequest
from empirical_provider.emulator import Emulator
from tests.deployment.processes import free_port, until

POLL_INTERVAL = 1.0
"""Seconds between two looks, as the waits are told."""

KEY = "emp-key-a6d0e93b58"
"""The one API key that the services accept."""

_SOMEBODY_ELSE = "somebody-else"
_LONG = 30.0
_ASKED = 5.0
"""Seconds that the service asks to be left alone."""


@dataclass(frozen=True)
class Fault:
    """One way to fail in the middle of a wait.

    Attributes:
        strike: Does it, to a service that has the run of this id; returns once it has hit the wait.
        outcome: What the wait must come to: an outcome of a verdict, or ``authentication`` or
            ``not_found`` where there can be none.
        run_state: The state that the run must be in then; None: there is no such run any more.
        told: Words that the log of the wait must hold.
    """

    strike: Callable[[Emulator, int], object]
    outcome: str = "passed"
    run_state: str | None = "ended"
    told: tuple[str, ...] = ("can be read again",)


class Scene:
    """A service that fails, from the start of its run to what became of the wait."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.emulator = Emulator(
            port=free_port(),
            api_keys=[KEY],
            environments={"staging": "stuck"},
            advance="reads",
            concurrency_limit="environment",
            concurrency_behavior="cancel_previous",
        )
        self.run_id: int | None = None
        """The id of the one run, once somebody waits for it."""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _play(self) -> None:
        try:
            until("somebody waits for the run", self._is_waited_for)
            self.run_id = self.emulator.runs[0].id
            self.fault.strike(self.emulator, self.run_id)
            if self.fault.outcome == "passed":
                self.emulator.set_state(self.run_id, "ended")
        except BaseException as error:  # noqa: BLE001  # told by the test that the scene belongs to
            self._error = error

    def _is_waited_for(self) -> bool:
        return (
            any(run.state == "started" for run in self.emulator.runs) and looks(self.emulator) > 2
        )

    def finished(self, limit: float = 200.0) -> None:
        """Wait until the fault has struck; fail where it could not."""
        self._thread.join(limit)
        assert not self._thread.is_alive(), "the fault did not strike in time"
        if self._error is not None:
            raise self._error

    def has_one_run(self) -> None:
        """Check that one run was started, with one request, and what has become of it."""
        bodies = [each.body for each in self.emulator.requests if each.endpoint == "trigger"]
        assert len([each for each in bodies if each.get("github_actor") != _SOMEBODY_ELSE]) == 1
        ours = [run for run in self.emulator.runs if run.body.get("github_actor") != _SOMEBODY_ELSE]
        expected = [] if self.fault.run_state is None else [self.fault.run_state]
        assert [run.state for run in ours] == expected


@contextmanager
def playing() -> Iterator[Mapping[str, Scene]]:
    """Return a running service for each fault; it strikes once a wait has begun."""
    with ExitStack() as stack:
        scenes = {name: Scene(fault) for name, fault in FAULTS.items()}
        for scene in scenes.values():
            scene.emulator.start()
            stack.callback(scene.emulator.stop)
            scene._thread.start()
        yield scenes


def looks(emulator: Emulator) -> int:
    """Return how often runs were looked at."""
    return [each.endpoint for each in emulator.requests].count("get_test_run")


def _looks_go_on(emulator: Emulator, more: int, limit: float = 60.0) -> None:
    before = looks(emulator)
    until(f"{more} more looks", lambda: looks(emulator) >= before + more, limit)


def _outage(emulator: Emulator, _: int) -> None:
    """A minute without an answer: nobody listens at first, then there is only a proxy's 503."""
    began = time.monotonic()
    emulator.stop()
    until("the port was closed for long", lambda: time.monotonic() - began > _LONG, _LONG + 5)
    emulator.fault("get_test_run", "status", status=503, times=None)
    emulator.start()
    _looks_go_on(emulator, 5)
    until("a minute is over", lambda: time.monotonic() - began > 2 * _LONG, _LONG + 5)
    emulator.clear_faults()


def _errors(emulator: Emulator, _: int) -> None:
    began = time.monotonic()
    emulator.fault("get_test_run", "status", status=500, times=None)
    until("there were errors for long", lambda: time.monotonic() - began > _LONG, _LONG + 5)
    assert looks(emulator) > _LONG / POLL_INTERVAL / 3
    emulator.clear_faults()


def _asks_for_time(retry_after: Callable[[], str]) -> Callable[[Emulator, int], None]:
    def strike(emulator: Emulator, _: int) -> None:
        """Answer 429 once, and see that the service is left alone for as long as it asks."""
        emulator.fault("get_test_run", "status", status=429, retry_after=retry_after())
        until("it has hit", lambda: not _faults_left(emulator))
        hit = [each.at for each in emulator.requests if each.endpoint == "get_test_run"][-1]
        _looks_go_on(emulator, 1)
        times = [each.at for each in emulator.requests if each.endpoint == "get_test_run"]
        after = min(at for at in times if at > hit)
        assert after - hit >= _ASKED - 1, f"asked again after {after - hit:.1f} s"

    return strike


def _once(effect: str, *, times: int = 2, delay: float = 0.0) -> Callable[[Emulator, int], None]:
    def strike(emulator: Emulator, _: int) -> None:
        emulator.fault("get_test_run", effect, times=times, delay=delay)
        until("it has hit", lambda: not _faults_left(emulator))
        _looks_go_on(emulator, 2, 90)

    return strike


def _faults_left(emulator: Emulator) -> list[object]:
    return [*emulator._control.faults.all()]  # what `GET /_emulator/` shows


def _supersede(emulator: Emulator, _: int) -> None:
    """Have somebody else start a run in a project that lets only the newest one go."""
    with EmpiricalClient(api_key=KEY, base_url=emulator.url) as client:
        client.trigger(TestRunRequest(environment="staging", github_actor=_SOMEBODY_ELSE))


FAULTS: Mapping[str, Fault] = {
    "an outage of 60 s": Fault(_outage, told=("could not connect", "503", "can be read again")),
    "429, seconds": Fault(_asks_for_time(lambda: f"{_ASKED:.0f}"), told=("429",)),
    "429, a date": Fault(
        _asks_for_time(lambda: formatdate(time.time() + _ASKED + 1, usegmt=True)), told=("429",)
    ),
    "500 for 30 s": Fault(_errors, told=("500", "can be read again")),
    "an answer after 30 s": Fault(_once("delay", times=1, delay=_LONG)),
    "a reset in the middle of an answer": Fault(_once("reset")),
    "malformed answers": Fault(_once("malformed"), told=("JSON", "can be read again")),
    "truncated answers": Fault(_once("truncated")),
    "an answer of 50 MB": Fault(_once("huge", times=1)),
    "the key expires": Fault(
        lambda emulator, _: emulator.revoke(KEY), "authentication", "started", ("401",)
    ),
    "the run is deleted": Fault(
        lambda emulator, run_id: emulator.delete_run(run_id), "not_found", None, ("404",)
    ),
    "somebody cancels the run": Fault(
        lambda emulator, run_id: emulator.set_state(run_id, "cancelled"),
        "cancelled",
        "cancelled",
        ("was cancelled",),
    ),
    "another run takes its place": Fault(
        _supersede, "superseded", "cancelled", ("was superseded",)
    ),
}
