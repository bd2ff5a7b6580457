"""Tasks that want one run each, and the local Empirical without its network, step by step.

For tests that make tens of thousands of requests: it answers from the emulator's own state and
views. Faults are given with each request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx

from empirical_provider.emulator import views
from empirical_provider.emulator.behaviour import Behaviour
from empirical_provider.emulator.errors import FieldError, RefusedError, UnknownRunError
from empirical_provider.emulator.queries import Query
from empirical_provider.emulator.settings import Settings as EmulatorSettings
from empirical_provider.emulator.state import State
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.idempotency import start_once
from empirical_provider.outcomes import failure_of, result_of
from empirical_provider.receiving import Answer
from empirical_provider.searching import Clocks, LimitedCall, Pause
from empirical_provider.settings import Settings
from empirical_provider.started_runs import Service as Known
from empirical_provider.started_runs import StartedRuns
from empirical_provider.trigger_once import Save, Started, TriggerOnce

if TYPE_CHECKING:
    from empirical_provider import TestRun, TestRunRequest
    from empirical_provider.emulator.runs import Run

SETTINGS = Settings.checked(
    api_key="key",
    base_url="http://127.0.0.1:1",
    project_id=None,
    project_slug=None,
    dashboard_url=None,
    timeout=None,
    retry_for=0,
)
DEAD = {"error", "cancelled"}
"""States of a run that never has a verdict."""

FAULTS = (
    "refused",
    "lost before",
    "lost after",
    "late",
    "500 before",
    "500 after",
    "replayed before",
    "replayed after",
)
LATE = 30.0
"""Seconds after which a request is acted on whose connection broke at once."""


OLD = 600.0
"""Seconds after which a proxy replays a response. It may do so earlier, and nobody could tell."""


class Service:
    """An Empirical whose clock is turned by hand.

    Attributes:
        now: The true time.
        date_is_off_by: Seconds by which the ``Date`` of its responses is ahead of the clock that
            dates its runs.
        date: That of the last response; None: there was none.
        cancelled: Ids of the runs that it was asked to cancel.
    """

    def __init__(self, **switches: Any) -> None:
        self.now = 1_800_000_000.0
        self.date_is_off_by = 0.0
        settings = EmulatorSettings(advance="time", state_seconds=86_400.0)
        self.state = State(settings, Behaviour().but(switches), lambda: self.now)
        self._late: list[tuple[float, Call[Any]]] = []
        self.date: float | None = None
        self.cancelled: set[int] = set()
        self._starts: list[tuple[float, Answer]] = []

    def turn(self, seconds: float) -> None:
        """Let time pass; what is late is acted on at its time."""
        end = self.now + seconds
        for at, call in sorted(self._late, key=lambda late: late[0]):
            if at <= end:
                self.now = max(self.now, at)
                self._act(call)
        self._late = [late for late in self._late if late[0] > end]
        self.now = end

    def perform(self, call: Call[Any], fault: str | None = None) -> Any:
        """Make a request, as a client does: return its result, or raise one of our errors."""
        self.date = None
        if fault == "refused":
            raise failure_of(SETTINGS, call, httpx.ConnectError("refused"))
        if fault == "late":
            self._late.append((self.now + LATE, call))
        old = [answer for at, answer in self._starts if at < self.now - OLD]
        before = {"lost before", "late", "500 before", "replayed before"}
        acted = None if fault in before else self._act(call)
        if fault in {"replayed before", "replayed after"}:
            if not (old and call.starts_run):
                raise failure_of(SETTINGS, call, httpx.ReadError("lost"))
            return self._heard(call, old[-1])
        if fault in {"lost before", "lost after", "late"}:
            raise failure_of(SETTINGS, call, httpx.ReadError("lost"))
        status, body = acted if fault is None and acted else (500, {"error": {"message": "oops"}})
        answer = self._answer(status, body)
        if call.starts_run and status < 300:
            self._starts.append((self.now, answer))
        return self._heard(call, answer)

    def _heard(self, call: Call[Any], answer: Answer) -> Any:
        self.date = answer.sent_at
        return result_of(SETTINGS, call, answer)

    def _answer(self, status: int, body: Any) -> Answer:
        date = formatdate(self.state.time() + self.date_is_off_by, usegmt=True)
        return Answer(status, {"date": date}, json.dumps(body).encode())

    def _act(self, call: Call[Any]) -> tuple[int, Any]:
        try:
            return 200, self._result(call)
        except UnknownRunError as error:
            return 404, {"error": {"message": str(error)}}
        except FieldError as error:
            return 422, {"error": {"message": str(error)}}
        except RefusedError as error:
            return error.status, {"error": {"message": str(error)}}

    def _result(self, call: Call[Any]) -> Any:
        state, behaviour = self.state, self.state.behaviour
        match call.method, call.path.split("/")[3:]:
            case "PUT", []:
                return views.trigger_answer(state.trigger(dict(call.body or {})), state.settings)
            case "GET", []:
                query = Query.read({name: str(each) for name, each in (call.params or {}).items()})
                runs, total = state.read_page(query)
                return views.list_answer(runs, total, query, state.settings, behaviour.echo_in_list)
            case "GET", [run_id]:
                run = state.read(int(run_id))
                return views.detail_answer(run, state.settings, behaviour.echo_in_detail)
            case "POST", [run_id, "cancel"]:
                self.cancelled.add(int(run_id))
                state.cancel(int(run_id), None)
                state.force(int(run_id), "cancelled")  # at once: no test here is about how long
                return {"message": "cancelled"}
            case "POST", [run_id, "re-run"]:
                return views.trigger_answer(
                    state.rerun(int(run_id), dict(call.body or {})), state.settings
                )
        raise AssertionError(call)

    @property
    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        return self.state.all()


@dataclass
class Task:
    """A task of an orchestrator, and what it knows between attempts."""

    name: str
    key: str
    shared: bool
    has_store: bool
    after_red: str
    request: TestRunRequest
    generation: int = 0
    fresh_since: float = 0.0
    tried_since: float | None = None
    saved: dict[str, Any] | None = None
    attempt: Attempt | None = None

    def once(self, *, in_environment: bool) -> TriggerOnce:
        shared = self.shared and self.generation == 0  # once cleared, it wants a run of its own
        return TriggerOnce(
            key=self.key if shared else self.name,
            shared=shared,
            generation=self.generation,
            key_in_environment=in_environment,
            tried_since=None if self.has_store else self.tried_since,
            saved=self.saved if self.has_store else None,
            after_red=self.after_red,
        )


@dataclass
class Attempt:
    """One process that runs through the steps, on a machine with a clock of its own."""

    task: Task
    service: Service
    clock_is_off_by: float
    in_environment: bool
    api_key: str = "key"
    service_ahead: float | None = None
    reply: Any = None
    error: EmpiricalError | None = None
    result: TestRun | None = None
    failure: EmpiricalError | None = None
    run_ids: list[int] = field(default_factory=list)
    faults: dict[bool, str | None] = field(default_factory=dict)
    """Of the next request that starts a run, and of the next other one."""

    def __post_init__(self) -> None:
        self.clocks = Clocks(wall=self.wall, running=self.running, service=self.service_time)
        self.dead = {run.id for run in self.service.runs if run.state in DEAD}
        once = self.task.once(in_environment=self.in_environment)
        known = Known(
            base_url="http://127.0.0.1:1",
            dashboard_url="http://127.0.0.1:1",
            api_key=self.api_key,
            started=StartedRuns(),
        )
        self.steps = start_once(self.task.request, once, self.clocks, known)

    def running(self) -> float:
        return self.service.now - 1_700_000_000.0

    def service_time(self) -> float | None:
        return None if self.service_ahead is None else self.service_ahead + self.running()

    def wall(self) -> float:
        return self.service.now + self.clock_is_off_by

    def go_on(self) -> bool:
        """Make one step; return whether there are more."""
        try:
            step = self.steps.throw(self.error) if self.error else self.steps.send(self.reply)
        except StopIteration as end:
            self.result = end.value
            return False
        except EmpiricalError as error:
            self.failure = error
            return False
        self.reply = self.error = None
        match step:
            case Pause(seconds):
                self.service.turn(seconds)
            case Save(record):
                self.task.saved = record
            case Started(run):
                self.run_ids.append(run.id)
            case Call() | LimitedCall():
                call = step if isinstance(step, Call) else step.call
                fault = self.faults.pop(call.starts_run, None)
                try:
                    self.reply = self.service.perform(call, fault)
                except EmpiricalError as error:
                    self.error = error
                if self.service.date is not None:
                    self.service_ahead = self.service.date - self.running()
        return True
