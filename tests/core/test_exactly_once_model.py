"""Whatever is lost, crashes or is cleared, in whatever order: one run for each release.

Hypothesis plays the network, the service's moods, the machines that crash, and the people. The
steps are the real ones; see `simulation` for what answers them.
"""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from empirical_provider import (
    InvalidRequestError,
    TestRunRequest,
    TriggerOutcomeUnknownError,
)
from empirical_provider.policy import AFTER_RED
from empirical_provider.trigger_key import TriggerKey
from tests.core.simulation import DEAD, FAULTS, Attempt, Service, Task
from tests.examples import examples

SEQUENCES = int(os.environ.get("EXACTLY_ONCE_SEQUENCES", "0"))
"""Given by hand, so many new sequences; otherwise the same ones each time."""

pytestmark = [pytest.mark.timeout(900 + SEQUENCES), pytest.mark.slow]

LIVE = {"pending", "queued", "started", "cancelling"}
ECHO = {"metadata", "environment_variables_overrides"}


def key_of(key: str, request: TestRunRequest) -> TriggerKey:
    return TriggerKey.of(key, request, api_key="key")


no_faults = [None] * len(FAULTS)
faults = st.sampled_from([*no_faults, *FAULTS])
fewer_faults = st.sampled_from([*no_faults * 3, *FAULTS])


class ExactlyOnce(RuleBasedStateMachine):
    """Two tasks with keys of their own, and two more that share one."""

    @initialize(
        in_list=st.sets(st.sampled_from(sorted(ECHO))),
        in_detail=st.sets(st.sampled_from(sorted(ECHO))),
        in_environment=st.booleans(),
        lag=st.floats(0, 20),
        skew=st.floats(-7_200, 7_200),
        date_is_off_by=st.sampled_from([0.0, 0.0, 7.0, 200.0, 400.0, -400.0]),
        stores=st.lists(st.booleans(), min_size=4, max_size=4),
        after_red=st.lists(st.sampled_from(AFTER_RED), min_size=3, max_size=3),
        outcome=st.sampled_from(["passed", "failed"]),
    )
    def set_up(
        self,
        *,
        in_list: set[str],
        in_detail: set[str],
        in_environment: bool,
        lag: float,
        skew: float,
        date_is_off_by: float,
        stores: list[bool],
        after_red: list[str],
        outcome: str,
    ) -> None:
        self.service = Service(list_lag=lag, clock_skew=skew)
        self.service.date_is_off_by = date_is_off_by
        self.copies: set[int] = set()
        behaviour = self.service.state.behaviour
        self.service.state.behave(
            {
                "echo_in_list": (behaviour.echo_in_list - ECHO) | in_list,
                "echo_in_detail": (behaviour.echo_in_detail - ECHO) | in_detail,
            }
        )
        self.in_environment = in_environment
        self.tasks = [
            Task(
                name=f"task-{number}",
                key="release-7" if number >= 2 else f"task-{number}",
                shared=number >= 2,
                has_store=stores[number],
                after_red=after_red[min(number, 2)],
                request=TestRunRequest(
                    environment="staging" if number else "production",
                    build={"commit": "7" if number >= 2 else f"of-task-{number}"},
                ),
            )
            for number in range(4)
        ]
        self.others = 0
        for environment in ("production", "staging"):
            self.service.state.script({"environment": environment, "outcome": outcome})

    tasks_drawn = st.sampled_from([0, 0, 0, 1, 2, 3])

    # The orchestrator

    @rule(
        number=tasks_drawn,
        off=st.floats(-20, 20),
        steps=st.sampled_from([1, 2, 3, 4, 5, 8, 1_000, 1_000]),
        sending=faults,
        reading=fewer_faults,
        crash=st.booleans(),
    )
    def try_it(
        self,
        *,
        number: int,
        off: float,
        steps: int,
        sending: str | None,
        reading: str | None,
        crash: bool,
    ) -> None:
        """Begin an attempt, or go on with the one there is; it may crash after some steps."""
        task = self.begin(number, off)
        task.attempt.faults = {True: sending, False: reading}
        for _ in range(steps):
            if not task.attempt.go_on():
                self.end(task)
                return
        if crash:
            task.attempt = None

    @rule(number=tasks_drawn, seconds=st.sampled_from([-60.0, -10.0, 10.0, 60.0]))
    def set_a_clock(self, *, number: int, seconds: float) -> None:
        """Set the clock of a machine while an attempt is under way, once."""
        attempt = self.tasks[number].attempt
        if attempt is not None and abs(attempt.clock_is_off_by) <= 20:
            attempt.clock_is_off_by += seconds

    @rule(turns=st.lists(st.sampled_from([2, 3]), min_size=4, max_size=30), lost=fewer_faults)
    def race(self, turns: list[int], lost: str | None) -> None:
        """Those that share a key go on, step by step in turns."""
        running = {number: self.begin(number, 0.0) for number in (2, 3)}
        running[turns[0]].attempt.faults = {True: lost}
        for number in turns:
            task = running[number]
            if task.attempt is not None and not task.attempt.go_on():
                self.end(task)

    def begin(self, number: int, off: float) -> Task:
        task = self.tasks[number]
        if task.attempt is None:
            task.attempt = Attempt(task, self.service, off, self.in_environment)
        if task.tried_since is None:
            task.tried_since = self.service.now
        return task

    @rule(number=tasks_drawn, seconds=st.sampled_from([31.0, 45.0, 600.0]))
    def clear(self, number: int, seconds: float) -> None:
        task = self.tasks[number]
        task.attempt = None
        self.service.turn(seconds)  # nothing of the old attempt is on its way any more
        task.generation += 1
        task.tried_since = None
        task.fresh_since = self.service.now

    # The service, and everybody else

    @rule(seconds=st.floats(0, 600))
    def wait(self, seconds: float) -> None:
        self.service.turn(seconds)

    @precondition(lambda self: self.others < 30)
    @rule(environment=st.sampled_from(["production", "staging"]))
    def somebody_starts_a_run(self, environment: str) -> None:
        self.others += 1
        self.service.state.trigger({"environment": environment, "metadata": {"by": "hand"}})

    @precondition(lambda self: self.others < 30)
    @rule(which=st.integers(0, 9), elsewhere=st.booleans(), all_of_it=st.booleans())
    def somebody_copies_a_run(self, *, which: int, elsewhere: bool, all_of_it: bool) -> None:
        """Start a run with what another one says of itself: elsewhere, or of another commit."""
        originals = [
            run for run in self.service.runs if "trigger_key" in run.body.get("metadata", {})
        ]
        if not originals:
            return
        self.others += 1
        body = originals[which % len(originals)].body
        kept = ("metadata", "environment_variables_overrides") if all_of_it else ("metadata",)
        places = {"staging": "production", "production": "staging"}
        there = places[body["environment"]] if elsewhere else body["environment"]
        copy = {name: body[name] for name in kept if name in body}
        run = self.service.state.trigger(
            {**copy, "environment": there, "build": {"commit": "of-nobody"}}
        )
        self.copies.add(run.id)

    @rule(
        which=st.integers(0, 9),
        state=st.sampled_from(["ended", "ended", "ended", "error", "cancelled"]),
    )
    def a_run_ends(self, which: int, state: str) -> None:
        live = [run for run in self.service.runs if run.state in LIVE]
        if live:
            self.service.state.force(live[which % len(live)].id, state)

    # What must hold

    def end(self, task: Task) -> None:
        """Check what an attempt has come to."""
        attempt, task.attempt = task.attempt, None
        if attempt is None:
            return
        if attempt.failure is not None:
            assert not isinstance(attempt.failure, InvalidRequestError), attempt.failure
            return
        assert attempt.result is not None
        run = self.service.state.peek(attempt.result.id)
        assert attempt.run_ids[-1] == run.id, "the last run that was told is the one"
        assert run.id not in self.copies, "a copy of another run"
        assert run.id not in attempt.dead, "a run that never has a verdict"
        assert run.environment.slug == task.request.environment
        assert run.request["build"] == task.request.body()["build"], "a run of another release"
        if not (task.shared and task.generation == 0):
            assert run.created_at >= task.fresh_since, "a run from before the clear"

    @invariant()
    def no_key_has_two_runs(self) -> None:
        if not hasattr(self, "service"):
            return
        cleared = {key_of(t.name, t.request).identity: t.fresh_since for t in self.tasks}
        roots: dict[int, TriggerKey | None] = {}
        standing: dict[str, list[int]] = {}
        for run in self.service.runs:
            key = TriggerKey.parse(run.request.get("metadata", {}).get("trigger_key"))
            roots[run.id] = key = roots.get(run.rerun_source_id or 0, key)
            if run.id in self.copies or run.rerun_source_id in self.copies:
                continue
            if key is None or key.identity not in cleared or run.state in DEAD:
                continue  # somebody else's, a shared key's, or of no account
            if not run.rerun_source_id:
                standing.setdefault(f"{key.identity}-{key.generation}", []).append(run.id)
            elif run.created_at >= cleared[key.identity]:  # a re-run does not show its generation
                standing.setdefault(f"re-runs of {run.rerun_source_id}", []).append(run.id)
        assert not self.copies & self.service.cancelled, "somebody else's run was cancelled"
        for name, run_ids in standing.items():
            assert len(run_ids) == 1, f"{name} has {run_ids}"

    def teardown(self) -> None:
        """Once everybody has got through, those that share a key agree, and all else has ended."""
        if not hasattr(self, "service"):
            return
        sharing = [task for task in self.tasks if task.shared and task.generation == 0]
        tried = [task for task in sharing if task.attempt is not None]
        for task in tried:
            task.attempt.faults = {}
        for task in itertools.cycle(tried):  # in turns, as if at the same time
            if all(each.attempt is None for each in tried):
                break
            if task.attempt is not None and not task.attempt.go_on():
                self.end(task)
        self.service.turn(60.0)
        answers = set()
        for task in sharing:
            task.attempt = Attempt(task, self.service, 0.0, self.in_environment)
            while task.attempt.go_on():
                pass
            if isinstance(task.attempt.failure, TriggerOutcomeUnknownError):
                return  # nobody can tell with what this service shows
            assert task.attempt.result is not None, task.attempt.failure
            answers.add(task.attempt.result.id)
        if sharing and self._everybody_can_tell():
            assert len(answers) == 1, answers
            assert len(self._live_under(self.tasks[-1].key)) <= 1, "somebody's run still goes on"

    def _live_under(self, key: str) -> list[int]:
        identity = key_of(key, self.tasks[-1].request).identity
        shown = {
            run.id: TriggerKey.parse(run.request.get("metadata", {}).get("trigger_key"))
            for run in self.service.runs
            if run.state in LIVE and not run.rerun_source_id and run.id not in self.copies
        }
        return [run_id for run_id, each in shown.items() if each and each.identity == identity]

    def _everybody_can_tell(self) -> bool:
        behaviour = self.service.state.behaviour
        return "metadata" in behaviour.echo_in_detail


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(
    max_examples=SEQUENCES or examples(2_000),
    stateful_step_count=30,
    phases=[Phase.generate],  # shrinking takes minutes, and all steps are printed anyway
    derandomize=not SEQUENCES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
