"""The service as it might be, and the truth about it: runs, their tests, and what is shown of them.

Written from what is publicly known of the API, without the package's code and without its emulator.
What is not known differs from scene to scene: see `Dialect`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from tests.simulator.machine import EPOCH

__all__ = ["LIVE", "NOT_STARTED", "TERMINAL", "Dialect", "Result", "Run"]

NOT_STARTED = ("pending", "queued")
LIVE = ("pending", "queued", "started")
TERMINAL = ("ended", "error", "cancelled")

_CANCELLING = 4.0
"""Seconds from a cancel to the state ``cancelled``."""


@dataclass
class Result:
    """What became of the tests of a run, in truth."""

    passed: int = 0
    flaky: int = 0
    failed: int = 0
    snoozed: int = 0
    """Failed, and snoozed."""
    skipped: int = 0
    missing: int = 0
    """Planned, and never run: a shard or a worker died."""
    odd: int = 0
    """Neither passed nor counted as failed: only its row says so."""
    word: str = "timedOut"
    """What the row of an odd test says."""

    @property
    def ran(self) -> int:
        return self.passed + self.flaky + self.failed + self.snoozed


@dataclass
class Dialect:
    """What this service shows, how, and when. Each field is one thing that is not documented."""

    page_shape: str = "testRun"
    """``testRun``, ``test_run`` or ``bare``."""
    snake_rows: bool = False
    counts: str = "all"
    """``all``, ``vendor`` (those that the vendor's tests read) or ``oldest`` (total and failed)."""
    rows: bool = True
    skipped_in_total: bool = True
    flaky_in_success: bool = False
    words: dict[str, str] = field(default_factory=dict)
    """The words for passed, flaky and skipped in rows."""
    page_commit: bool = False
    list_commit: bool = True
    garbled_commit: bool = False
    """Whether the list shows a commit that is no string."""
    page_overrides: str = "full"
    list_overrides: str = "full"
    """``full``, ``masked`` (names only) or ``none``."""
    page_metadata: bool = False
    list_metadata: bool = False
    list_state: bool = True
    page_environment: bool = True
    order: str = "newest"
    """``newest``, ``oldest`` or ``mixed``."""
    per_page: int = 100
    """The most that a page of the list shows, whatever is asked for."""
    pagination: bool = True
    id_filter: bool = True
    filters: bool = True
    date: bool = True
    """Whether responses have a ``Date`` header."""
    server_ahead: float = 0.0
    created_ahead: float = 0.0
    """By how much ``created_at`` is ahead of the ``Date`` header."""
    list_lag: float = 0.0
    """Seconds after which the list shows a run, and a change of its state."""
    page_lag: float = 0.0
    """Seconds after which a run's page shows what happened."""
    page_appears: float = 0.0
    """Seconds after which a run has a page at all."""
    slug: str = "shop"


@dataclass
class Run:
    """A run, in truth."""

    id: int
    environment: str
    created: float
    life: list[tuple[float, str]]
    """From when on it is in which state."""
    result: Result = field(default_factory=Result)
    commit: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    overrides: list[dict[str, str]] = field(default_factory=list)
    wish: str | None = None
    """What it was started for, if an attempt of ours has started it."""
    by: str = ""
    """Label of that attempt."""
    lie: str | None = None
    """How the page of the ended run contradicts itself."""
    lie_until: float = 0.0
    superseded_by: int | None = None
    superseded: bool = False
    """Whether that one has taken its place, in truth."""
    rerun_of: int | None = None
    cancelled_at: float | None = None
    readable: bool = True

    def state(self, at: float) -> str:
        """Return the state that it is in at a moment."""
        if self.cancelled_at is not None and at >= self.cancelled_at:
            return "cancelling" if at < self.cancelled_at + _CANCELLING else "cancelled"
        state = self.life[0][1]
        for since, name in self.life:
            if since <= at:
                state = name
        return state

    def left_queue_at(self) -> float:
        """Return from when on it is neither pending nor queued."""
        left = [since for since, name in self.life if name not in NOT_STARTED]
        if self.cancelled_at is not None:
            left.append(self.cancelled_at)
        return min(left, default=float("inf"))

    def terminal_at(self) -> float:
        """Return from when on its state is final."""
        ends = [since for since, name in self.life if name in TERMINAL]
        if self.cancelled_at is not None:
            ends = [self.cancelled_at + _CANCELLING]
        return min(ends, default=float("inf"))

    def holds(self, at: float) -> bool:
        """Say whether it has, or may get, a verdict on its tests."""
        return self.state(at) in (*LIVE, "ended")

    def lies(self, at: float) -> bool:
        if self.state(at) != "ended":
            return False
        return self.says_both or (self.lie is not None and at < self.lie_until)

    @property
    def says_both(self) -> bool:
        """Whether a row says that a test failed, and the numbers say that none did."""
        return self.result.odd > 0 and self.result.word.lower() == "failed"

    # What is shown of it

    def page(self, dialect: Dialect, at: float) -> dict[str, Any]:
        """Return the response to a request for this run."""
        seen = at - dialect.page_lag
        state = self.state(seen)
        row = {
            "id": self.id,
            "run_id": 7_000_000_000_000 + self.id,
            "state": state,
            "created_at": self._created_at(dialect),
            "environment_id": 11,
            "test_case_ids": [],
            "rerun_source_id": self.rerun_of,
            "rerun_only_failed": self.rerun_of is not None,
            "superseded_by_test_run_id": self.superseded_by,
        }
        row |= self.counts(dialect) if state == "ended" else {"total_count": 0, "failed_count": 0}
        if dialect.page_environment:
            row["environment_slug"] = self.environment
        if dialect.page_commit:
            row["commit"] = self.commit
        row |= self._origin(dialect.page_overrides, metadata=dialect.page_metadata)
        rows = self._rows(dialect) if dialect.rows and state == "ended" else []
        if self.lie is not None and self.lies(seen):
            self._contradict(row, rows)
        outer: dict[str, Any] = {"project": {"id": 5, "slug": dialect.slug}}
        if rows or dialect.rows:
            name = "flattened_summary_details" if dialect.snake_rows else "flattenedSummaryDetails"
            outer[name] = rows
        if dialect.page_shape == "bare":
            return {"data": {"test_run": row | outer}}
        return {"data": {"test_run": {dialect.page_shape: row} | outer}}

    def item(self, dialect: Dialect, at: float) -> dict[str, Any]:
        """Return what a list shows of it."""
        state = self.state(max(self.created, at - dialect.list_lag))
        row: dict[str, Any] = {
            "id": self.id,
            "created_at": self._created_at(dialect),
            "test_run_branch": "main",
            "environment_slug": self.environment,
            "environment_name": self.environment.title(),
            "rerun_source_id": self.rerun_of,
            "superseded_by_test_run_id": self.superseded_by,
        }
        if dialect.list_state:
            row["state"] = state
        row |= self.counts(dialect) if state == "ended" else {"total_count": 0}
        if dialect.list_commit:
            row["commit"] = {"sha": self.commit} if dialect.garbled_commit else self.commit
        return row | self._origin(dialect.list_overrides, metadata=dialect.list_metadata)

    def started(self, dialect: Dialect, at: float) -> dict[str, Any]:
        """Return the response to the request that has started it."""
        state = self.state(at)
        return {
            "data": {
                "trigger": {"success": state != "error"},
                "test_run": {
                    "id": self.id,
                    "state": state,
                    "test_run_branch": "main",
                    "created_at": self._created_at(dialect),
                },
            }
        }

    def counts(self, dialect: Dialect) -> dict[str, Any]:
        """Return the numbers of tests of the ended run, as the service counts."""
        result = self.result
        total = result.ran + result.odd + result.missing
        if dialect.skipped_in_total:
            total += result.skipped
        counts: dict[str, Any] = {
            "total_count": total,
            "failed_count": result.failed + result.snoozed,
        }
        if dialect.counts != "oldest":
            counts["failed_count_after_snoozing"] = result.failed
        if dialect.counts == "all":
            also = result.flaky if dialect.flaky_in_success else 0
            counts["success_count"] = result.passed + result.odd + also
            counts["flaky_count"] = result.flaky
            counts["skipped_count"] = result.skipped
        return counts

    def _rows(self, dialect: Dialect) -> list[dict[str, Any]]:
        result, words = self.result, dialect.words
        kinds = (
            ("passed", result.passed, words.get("passed", "passed")),
            ("flaky", result.flaky, words.get("flaky", "flaky")),
            ("failed", result.failed, "failed"),
            ("snoozed", result.snoozed, "failed"),
            ("skipped", result.skipped, words.get("skipped", "skipped")),
            ("odd", result.odd, result.word),
        )
        rows = [
            self._row(f"{kind} {number}", status)
            for kind, count, status in kinds
            for number in range(count)
        ]
        for row in rows:
            if row["name"].startswith("snoozed"):
                row["snooze_info"] = [{"snooze_id": 3}]
        return rows

    def _row(self, title: str, status: str) -> dict[str, Any]:
        return {
            "name": title,
            "pw_test_id": f"{self.id:020x}-{crc32(title.encode()):020x}",
            "status": status,
            "nesting": ["shop.spec.ts", title],
            "test_project": "chromium",
            "slug": title.replace(" ", "-"),
        }

    def _contradict(self, row: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Have the page say what cannot be true."""
        total = row["total_count"]
        if self.lie == "no failures beside a failed row":
            row |= {"failed_count": 0, "failed_count_after_snoozing": 0}
            rows.append(self._row("lost", "failed"))
        elif self.lie == "more passed than all":
            row |= {"success_count": total + 3, "failed_count": 0, "failed_count_after_snoozing": 0}
        elif self.lie == "more failures after snoozing than before":
            row |= {"failed_count": 0, "failed_count_after_snoozing": 2}
        elif self.lie == "failed rows without a snooze":
            row |= {"failed_count": total, "failed_count_after_snoozing": 0, "success_count": 0}
            rows[:] = [self._row(f"lost {number}", "failed") for number in range(total)]
        else:
            row |= {"failed_count": "0", "failed_count_after_snoozing": "0"}

    def _origin(self, overrides: str, *, metadata: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if overrides == "full":
            shown["environment_variables_overrides"] = self.overrides
        elif overrides == "masked":
            masked = [{"name": each["name"], "value": "***"} for each in self.overrides]
            shown["environment_variables_overrides"] = masked
        if metadata:
            shown["metadata"] = self.metadata
        return shown

    def _created_at(self, dialect: Dialect) -> str:
        moment = EPOCH + self.created + dialect.server_ahead + dialect.created_ahead
        text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
