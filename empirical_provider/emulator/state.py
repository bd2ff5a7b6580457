"""What the local Empirical knows: keys, scripts, switches and runs. No HTTP and no clock here."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

from . import concurrency
from .behaviour import Behaviour
from .bodies import text
from .errors import FieldError, RefusedError, UnknownRunError
from .lag import Lag
from .outcomes import Plan, Scripts
from .queries import Query
from .runs import STATES, Run
from .settings import Environment, Settings

__all__ = ["State"]

# What a re-run takes over from its source.
_INHERITED = (
    "environment",
    "branch",
    "build",
    "environment_variables_overrides",
    "send_notifications",
    "tags",
    "test_case_ids",
)


class State:
    """Keys, scripts, switches and runs of one project.

    Every method takes the lock, lets time pass for the runs, and gives out copies:
    a caller never sees a run change under its hands.

    Args:
        settings: The set-up to start from, and to return to on `reset`.
        behaviour: The switches to start from, and to return to on `reset`.
        clock: Returns seconds since the epoch.

    Attributes:
        settings: The set-up.
        behaviour: The switches as they are now.
    """

    def __init__(
        self, settings: Settings, behaviour: Behaviour, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._first_behaviour = self._checked(behaviour)
        self._clock = clock
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget runs, scripts, switches and revoked keys; ids start again."""
        with self._lock:
            self.behaviour = self._first_behaviour
            self._lag = Lag()
            self._runs: dict[int, Run] = {}
            self._successors: dict[int, Run] = {}
            self._last_id = 0
            self._scripts = Scripts(self.settings.outcomes)
            self._revoked: set[str] = set()

    # Keys, scripts and switches

    def accepts(self, key: str) -> bool:
        """Tell whether a bearer key is good."""
        with self._lock:
            known = self.settings.api_keys
            return bool(key) and key not in self._revoked and (known is None or key in known)

    def set_revoked(self, key: str, *, revoked: bool) -> None:
        """Revoke a key, or accept it again."""
        text()("key", key)
        with self._lock:
            (self._revoked.add if revoked else self._revoked.discard)(key)

    def script(self, fields: Mapping[str, Any]) -> None:
        """Set how later runs end."""
        with self._lock:
            self._scripts.add(fields)

    def behave(self, changes: Mapping[str, Any]) -> None:
        """Set some switches; runs keep what they were created with, lists what they have shown."""
        with self._lock:
            behaviour = self._checked(self.behaviour.but(changes))
            self._lag.catch_up(self._runs.values(), self.behaviour, self._settle())
            self.behaviour = behaviour

    def time(self) -> float:
        """Tell the time by the service's clock."""
        return self._clock() + self.behaviour.clock_skew

    # What the API asks for

    def trigger(self, body: Mapping[str, Any]) -> Run:
        """Make a run from a checked trigger body.

        Raises:
            RefusedError: The environment, the project or the re-run source does not allow it.
            FieldError: The re-run source does not exist, or has nothing to repeat.
        """
        with self._lock:
            source = None
            if "rerun_source_id" in body:
                source = self._runs.get(body["rerun_source_id"])
                if source is None:
                    raise FieldError("rerun_source_id", "there is no such test run")
            return self._create(body, body, source, only_failed=body.get("rerun_only_failed"))

    def rerun(self, run_id: int, body: Mapping[str, Any]) -> Run:
        """Make a run that repeats another one.

        Raises:
            UnknownRunError: There is no such source.
            RefusedError: The source is still going.
            FieldError: Only failed tests were asked for and there are none.
        """
        with self._lock:
            source = self._get(run_id)
            inherited = {key: source.request[key] for key in _INHERITED if key in source.request}
            if "send_notifications" in body:
                inherited["send_notifications"] = body["send_notifications"]
            return self._create(body, inherited, source, only_failed=body.get("only_failed"))

    def cancel(self, run_id: int, reason: str | None) -> None:
        """Begin to cancel a run.

        Raises:
            UnknownRunError: There is no such run.
            RefusedError: It has already come to rest.
        """
        with self._lock:
            now = self._settle()
            run = self._get(run_id)
            if run.terminal:
                message = f"Test run {run_id} is already {run.state} and cannot be cancelled"
                raise RefusedError(412, message)
            run.cancel_reason = reason
            if run.state != "cancelling":
                self._move(run, "cancelling", now)

    def read(self, run_id: int) -> Run:
        """Show a run; where reads move runs, it has moved one step after this."""
        with self._lock:
            now = self._settle()
            run = self._get(run_id)
            seen = copy.copy(run)
            self._step([run], now)
            return seen

    def read_page(self, query: Query) -> tuple[list[Run], int]:
        """Show one page of runs, newest first, and count all that match."""
        with self._lock:
            now = self._settle()
            self._lag.catch_up(self._runs.values(), self.behaviour, now)
            self._lag.reads += 1
            listed = filter(self._lag.shows, reversed(self._runs.values()))
            found = [run for run in listed if query.matches(run, now)]
            first = (query.page - 1) * query.per_page
            page = found[first : first + query.per_page]
            seen = [copy.copy(run) for run in page]
            self._step(page, now)
            return seen, len(found)

    # What somebody behind the scenes does

    def all(self) -> list[Run]:
        """Show all runs, newest last, without moving them."""
        with self._lock:
            self._settle()
            return [copy.copy(run) for run in self._runs.values()]

    def peek(self, run_id: int) -> Run:
        """Show a run without moving it."""
        with self._lock:
            self._settle()
            return copy.copy(self._get(run_id))

    def force(self, run_id: int, state: str) -> Run:
        """Put a run into a state; it goes on from there by itself."""
        text(among=STATES)("state", state)
        with self._lock:
            now = self._settle()
            run = self._get(run_id)
            self._move(run, state, now)
            return copy.copy(run)

    def delete(self, run_id: int) -> None:
        """Remove a run."""
        with self._lock:
            now = self._settle()
            run = self._get(run_id)
            self._runs.pop(run_id, None)
            self._successors.pop(run_id, None)
            concurrency.release(run.group, self._runs.values(), now)

    # Inside, with the lock held

    def _checked(self, behaviour: Behaviour) -> Behaviour:
        for slug in behaviour.disabled_environments - self.settings.environments.keys():
            raise FieldError("disabled_environments", f"there is no environment {slug!r}")
        return behaviour

    def _get(self, run_id: int) -> Run:
        run = self._runs.get(run_id) or self._successors.get(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        return run

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _create(
        self,
        body: Mapping[str, Any],
        request: Mapping[str, Any],
        source: Run | None,
        *,
        only_failed: bool | None,
    ) -> Run:
        now = self._settle()
        environment = self._environment(request["environment"])
        if body.get("project_id", self.settings.project_id) != self.settings.project_id:
            raise RefusedError(400, "project_id does not match the project of this request")
        wanted = frozenset(request["test_case_ids"]) if "test_case_ids" in request else None
        if source is not None:
            if not source.terminal:
                raise RefusedError(409, f"Test run {source.id} is still {source.state}")
            if only_failed:
                wanted = frozenset(t.pw_test_id for t in source.tests if t.status == "failed")
                if not wanted:
                    field = "rerun_only_failed" if "rerun_only_failed" in body else "only_failed"
                    raise FieldError(field, f"test run {source.id} has no failed tests")
        plan = self._scripts.take(environment.slug)
        run = Run(self._next_id(), environment, body, request, plan, created_at=now, since=now)
        run.skew, run.lists_before = self.behaviour.clock_skew, self._lag.reads
        run.wanted = wanted
        if source is not None:
            run.rerun_source_id, run.rerun_only_failed = source.id, bool(only_failed)
            run.least = source.total
        if plan.outcome == "rejected":
            run.enter("error", now)
        else:
            if plan.outcome == "pending":
                run.state = "pending"
            concurrency.join(run, self._runs.values(), self.behaviour, now)
        self._runs[run.id] = run
        return copy.copy(run)

    def _environment(self, slug: str) -> Environment:
        environments = self.settings.environments
        if slug not in environments:
            known = ", ".join(environments)
            raise RefusedError(400, f"Environment {slug!r} not found. Available: {known}")
        if slug in self.behaviour.disabled_environments:
            raise RefusedError(400, f"Environment {slug!r} is disabled")
        return environments[slug]

    def _move(self, run: Run, state: str, now: float) -> None:
        run.enter(state, now)
        if run.terminal:
            concurrency.release(run.group, self._runs.values(), now)

    def _go_on(self, run: Run, now: float) -> None:
        """Take the step that comes by itself."""
        state = run.following()
        if state is None:
            return
        if run.state == "started" and run.plan.outcome == "superseded":
            run.superseded_by = self._successor(run, now).id
        self._move(run, state, now)

    def _successor(self, run: Run, now: float) -> Run:
        """Make the run of another client that supersedes a run: only its own page shows it."""
        request = {"environment": run.environment.slug}
        successor = Run(
            self._next_id(),
            run.environment,
            request,
            request,
            Plan("stuck"),
            created_at=now,
            since=now,
            skew=self.behaviour.clock_skew,
        )
        self._successors[successor.id] = successor
        return successor

    def _step(self, seen: list[Run], now: float) -> None:
        """Move runs because they were read; a waiting run moves the run that it waits for."""
        if self.settings.advance != "reads":
            return
        movers: dict[int, Run] = {}
        for run in seen:
            ahead = concurrency.live(run.group, self._runs.values()) if run.waiting else [run]
            movers |= {other.id: other for other in ahead if not other.waiting}
        for run in movers.values():
            self._go_on(run, now)

    def _settle(self) -> float:
        """Let the time that has passed move the runs, and return the time."""
        now = self._clock()
        moved = self.settings.advance == "time"
        while moved:  # a run that ends can release one that waited, at that very moment
            moved = False
            for run in self._runs.values():
                due = run.since + self.settings.state_seconds
                if due <= now and run.following() is not None:
                    self._go_on(run, due)
                    moved = True
        return now
