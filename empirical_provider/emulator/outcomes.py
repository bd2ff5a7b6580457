"""How runs end: what a script can say, and which script the next run of an environment follows."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .bodies import integer, nullable, record, text
from .catalogue import TestRow, row
from .errors import FieldError

__all__ = ["OUTCOMES", "Plan", "Scripts", "make_plan"]

# Outcome -> the state in which such a run comes to rest. None: it never gets there.
OUTCOMES: Mapping[str, str | None] = {
    "passed": "ended",
    "failed": "ended",
    "snoozed": "ended",
    "flaky": "ended",
    "no_tests": "ended",
    "error": "error",
    "rejected": "error",
    "cancelled": "cancelled",
    "superseded": "cancelled",
    "stuck": None,
    "pending": None,
}
_WITH_TESTS = ("passed", "failed", "snoozed", "flaky")
_ERROR_CODES = {"error": "run_failed_with_error", "rejected": "merge_conflict"}
_DEFAULT_TOTAL = 5
_MOST = 10_000
_COUNTS = ("total", "failed", "flaky", "skipped", "snoozed")
_SCRIPT = record(
    required={"environment": text(), "outcome": text(among=tuple(OUTCOMES))},
    optional={
        **{name: nullable(integer(0, _MOST)) for name in _COUNTS},
        "error_code": nullable(text()),
        "commit": nullable(text()),
        "runs": nullable(integer(1)),
    },
)


@dataclass(frozen=True)
class Plan:
    """How one run will end.

    Attributes:
        outcome: One of `OUTCOMES`.
        total: Tests that are executed; skipped ones come on top.
        failed: Failed tests, the snoozed ones included.
        flaky: Tests that passed on a retry.
        skipped: Tests that are not executed.
        snoozed: Failed tests whose failure is snoozed.
        error_code: What an error run says about its cause.
        commit: The commit that the run is shown with, in place of its build's.
    """

    outcome: str
    total: int = 0
    failed: int = 0
    flaky: int = 0
    skipped: int = 0
    snoozed: int = 0
    error_code: str | None = None
    commit: str | None = None

    def rows(self, *, least: int = 0) -> list[TestRow]:
        """List the tests of the run: failures first, so that a smaller run keeps them.

        Args:
            least: Executed tests to list at least; those beyond `total` pass.
        """
        executed = max(self.total, least)
        rows = []
        for index in range(executed):
            if index < self.failed:
                rows.append(row(index, "failed", snoozed=index < self.snoozed))
            else:
                flaky = index < self.failed + self.flaky
                rows.append(row(index, "flaky" if flaky else "passed"))
        return rows + [row(executed + index, "skipped") for index in range(self.skipped)]


def make_plan(fields: Mapping[str, Any]) -> Plan:
    """Make a plan from an outcome and counts, filling in what is not given.

    Raises:
        FieldError: The outcome is unknown, or the counts contradict it or each other.
    """
    outcome = fields["outcome"]
    text(among=tuple(OUTCOMES))("outcome", outcome)
    given = {name: fields[name] for name in _COUNTS if fields.get(name) is not None}
    code = fields.get("error_code")
    if code is not None and outcome not in _ERROR_CODES:
        raise FieldError("error_code", f"only with {', '.join(_ERROR_CODES)}, not with {outcome}")
    if outcome not in _WITH_TESTS:
        for name in given:
            raise FieldError(name, f"only with {', '.join(_WITH_TESTS)}, not with {outcome}")
        return Plan(outcome, error_code=code or _ERROR_CODES.get(outcome))

    snoozed = given.get("snoozed", given.get("failed", 1) if outcome == "snoozed" else 0)
    failed = given.get("failed", snoozed + (outcome == "failed"))
    flaky = given.get("flaky", int(outcome == "flaky"))
    total = given.get("total", max(_DEFAULT_TOTAL, failed + flaky))
    clean = outcome in ("passed", "flaky")
    problems = {
        "snoozed": snoozed > failed
        or (clean and snoozed > 0)
        or (outcome == "snoozed" and not 0 < snoozed == failed),
        "failed": (clean and failed > 0) or (outcome == "failed" and failed == snoozed),
        "flaky": outcome == "flaky" and flaky == 0,
        "total": total == 0 or failed + flaky > total,
    }
    for name, wrong in problems.items():
        if wrong:
            counts = f"total {total}, failed {failed}, snoozed {snoozed}, flaky {flaky}"
            raise FieldError(name, f"a run cannot be {outcome} with {counts}")
    return Plan(outcome, total, failed, flaky, given.get("skipped", 0), snoozed)


class Scripts:
    """Which plan the next run of each environment follows."""

    def __init__(self, outcomes: Mapping[str, str]) -> None:
        self._standing = {slug: make_plan({"outcome": o}) for slug, o in outcomes.items()}
        self._next: dict[str, deque[Plan]] = {slug: deque() for slug in outcomes}

    def add(self, fields: Mapping[str, Any]) -> None:
        """Set how later runs end, or with `runs` only the next few.

        Raises:
            FieldError: A field is wrong; the message names what is allowed.
        """
        _SCRIPT("", fields)
        slug = fields["environment"]
        text(among=tuple(self._standing))("environment", slug)
        plan = replace(make_plan(fields), commit=fields.get("commit"))
        if fields.get("runs") is None:
            self._standing[slug] = plan
        else:
            self._next[slug].extend([plan] * min(fields["runs"], _MOST))

    def take(self, slug: str) -> Plan:
        """Return the plan for a new run: scripts for the next few runs come first."""
        waiting = self._next[slug]
        return waiting.popleft() if waiting else self._standing[slug]
