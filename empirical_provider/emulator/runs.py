"""The life of one run: its states, its counts, and what comes next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalogue import CASES, TestRow, row
from .outcomes import OUTCOMES, Plan, make_plan
from .settings import Environment

__all__ = ["STATES", "TERMINAL", "Group", "Run"]

Group = tuple[str, ...]

STATES = ("pending", "queued", "started", "ended", "error", "cancelling", "cancelled")
TERMINAL = frozenset({"ended", "error", "cancelled"})


@dataclass
class Run:
    """One run. Only `State` changes it; everybody else gets copies.

    Attributes:
        id: Database id.
        environment: Where it runs.
        body: The request that made it, as received.
        request: The trigger it amounts to: for a re-run, what it takes over from its source.
        plan: How it will end.
        created_at: Seconds since the epoch, by the real clock as all times here.
        since: When it entered its state.
        skew: Seconds by which the service's clock was ahead when it was created.
        lists_before: List requests before it was created.
        state: One of `STATES`.
        group: Runs of one group do not go at the same time.
        waiting: Held back by another run of its group.
        wanted: Run only tests with these ids; None runs all.
        least: Tests that the project has at least, because the re-run source had them.
        rerun_source_id: The run that this one repeats.
        rerun_only_failed: It repeats only the failed tests.
        started_at: When it started.
        ended_at: When it came to rest.
        error_code: Cause of an error.
        cancel_reason: What the canceller said.
        superseded_by: The run that replaced it.
        tests: Results, once it has ended.
        missing: Tests of the total that have no result and are not listed.
    """

    id: int
    environment: Environment
    body: Mapping[str, Any]
    request: Mapping[str, Any]
    plan: Plan
    created_at: float
    since: float
    skew: float = 0.0
    lists_before: int = 0
    state: str = "queued"
    group: Group | None = None
    waiting: bool = False
    wanted: frozenset[str] | None = None
    least: int = 0
    rerun_source_id: int | None = None
    rerun_only_failed: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    error_code: str | None = None
    cancel_reason: str | None = None
    superseded_by: int | None = None
    tests: tuple[TestRow, ...] = field(default=(), repr=False)
    missing: int = 0

    @property
    def terminal(self) -> bool:
        """Whether the run has come to rest."""
        return self.state in TERMINAL

    @property
    def branch(self) -> str:
        """The branch of the test repository."""
        build = self.request.get("build", {})
        return str(self.request.get("branch") or build.get("branch") or "main")

    def following(self) -> str | None:
        """Return the state that comes next by itself, or None."""
        if self.state == "pending":
            return None if self.waiting or self.plan.outcome == "pending" else "queued"
        if self.state == "started":
            return OUTCOMES[self.plan.outcome]
        return {"queued": "started", "cancelling": "cancelled"}.get(self.state)

    def enter(self, state: str, now: float) -> None:
        """Change the state and everything that follows from it."""
        self.state, self.since, self.waiting = state, now, False
        self.ended_at = now if self.terminal else None
        self.error_code = None
        self.tests, self.missing = (), 0
        if state == "started":
            self.started_at = now
        elif state == "error":
            self.error_code = self.plan.error_code or "run_failed_with_error"
        elif state == "ended":
            self._finish()

    def count(self, status: str) -> int:
        """Count the tests with a status."""
        return sum(each.status == status for each in self.tests)

    @property
    def total(self) -> int:
        """Executed tests, those without a result too; skipped ones are not among them."""
        return len(self.tests) - self.count("skipped") + self.missing

    @property
    def is_partial(self) -> bool:
        """Whether it has ended without failures that count, and some tests have no result."""
        lacks = self.missing + self.count("interrupted")
        return self.state == "ended" and lacks > 0 and self.failed_after_snoozing == 0

    @property
    def failed_after_snoozing(self) -> int:
        """Failed tests whose failure nobody has snoozed: what decides the verdict."""
        return sum(each.status == "failed" and not each.snoozed for each in self.tests)

    def _finish(self) -> None:
        plan = self.plan
        if OUTCOMES[plan.outcome] != "ended":  # somebody forced a run to end that never would have
            plan = make_plan({"outcome": "passed"})
        if plan.outcome == "no_tests":
            return
        rows = plan.rows(least=self.least)
        if self.wanted is not None:
            rows += [row(index, "passed") for index in range(len(rows), CASES)]
            rows = [each for each in rows if each.pw_test_id in self.wanted]
        self.tests = tuple(each for each in rows if each.status != "missing")
        self.missing = len(rows) - len(self.tests)
        if not rows:  # every wanted id is unknown
            self.state, self.error_code = "error", "report_not_generated"
