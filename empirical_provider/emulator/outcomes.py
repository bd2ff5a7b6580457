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
    "incomplete": "ended",
    "no_tests": "ended",
    "error": "error",
    "rejected": "error",
    "cancelled": "cancelled",
    "superseded": "cancelled",
    "stuck": None,
    "pending": None,
}
_WITH_TESTS = ("passed", "failed", "snoozed", "flaky", "incomplete")
_WITHOUT_RESULT = ("failed", "incomplete")
_ERROR_CODES = {"error": "run_failed_with_error", "rejected": "merge_conflict"}
_DEFAULT_TOTAL = 5
_MOST = 10_000
_COUNTS = ("total", "failed", "flaky", "skipped", "snoozed", "missing", "interrupted")
_ACCEPTED, _REFUSED = 200, 400
_SCRIPT = record(
    required={"environment": text(), "outcome": text(among=tuple(OUTCOMES))},
    optional={
        **{name: nullable(integer(0, _MOST)) for name in _COUNTS},
        "error_code": nullable(text()),
        "commit": nullable(text()),
        "status": nullable(integer(_ACCEPTED, 599)),
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
        missing: Tests of the total that are in no other count and are not listed.
        interrupted: Tests of the total that are listed as interrupted, and in no other count.
        status: HTTP status that a rejected trigger is answered with.
        error_code: What an error run says about its cause.
        commit: The commit that the run is shown with, in place of its build's.
    """

    outcome: str
    total: int = 0
    failed: int = 0
    flaky: int = 0
    skipped: int = 0
    snoozed: int = 0
    missing: int = 0
    interrupted: int = 0
    status: int = _ACCEPTED
    error_code: str | None = None
    commit: str | None = None

    def rows(self, *, least: int = 0) -> list[TestRow]:
        """List the tests of the run: failures first, so that a smaller run keeps them.

        Those that the run will not list come last, with the status missing.

        Args:
            least: Executed tests to list at least; those beyond `total` pass.
        """
        executed = max(self.total, least)
        rows = []
        statuses = ["failed"] * self.failed + ["interrupted"] * self.interrupted
        statuses += ["flaky"] * self.flaky
        passed = max(0, executed - len(statuses) - self.missing)
        statuses += ["passed"] * passed + ["missing"] * self.missing
        for index, status in enumerate(statuses[:executed]):
            rows.append(row(index, status, snoozed=index < self.snoozed))
        return rows + [row(executed + index, "skipped") for index in range(self.skipped)]


def make_plan(fields: Mapping[str, Any]) -> Plan:
    """Make a plan from an outcome and counts, filling in what is not given.

    Raises:
        FieldError: The outcome is unknown, or the counts contradict it or each other.
    """
    outcome = fields["outcome"]
    text(among=tuple(OUTCOMES))("outcome", outcome)
    given = {name: fields[name] for name in _COUNTS if fields.get(name) is not None}
    code, status = fields.get("error_code"), fields.get("status")
    if status is not None and (outcome != "rejected" or _ACCEPTED < status < _REFUSED):
        raise FieldError("status", "200, or 400 and above, and only with rejected")
    if code is not None and outcome not in _ERROR_CODES:
        raise FieldError("error_code", f"only with {', '.join(_ERROR_CODES)}, not with {outcome}")
    if outcome not in _WITH_TESTS:
        for name in given:
            raise FieldError(name, f"only with {', '.join(_WITH_TESTS)}, not with {outcome}")
        return Plan(
            outcome, error_code=code or _ERROR_CODES.get(outcome), status=status or _ACCEPTED
        )

    snoozed = given.get("snoozed", given.get("failed", 1) if outcome == "snoozed" else 0)
    failed = given.get("failed", snoozed + (outcome == "failed"))
    flaky = given.get("flaky", int(outcome == "flaky"))
    interrupted = given.get("interrupted", 0)
    missing = given.get("missing", int(outcome == "incomplete" and not interrupted))
    listed = failed + flaky + interrupted + missing
    total = given.get("total", max(_DEFAULT_TOTAL, listed))
    clean = outcome in ("passed", "flaky")
    problems = {
        "snoozed": snoozed > failed
        or (clean and snoozed > 0)
        or (outcome == "snoozed" and not 0 < snoozed == failed),
        "failed": (clean and failed > 0)
        or (outcome == "failed" and failed == snoozed)
        or (outcome == "incomplete" and failed > snoozed),
        "flaky": outcome == "flaky" and flaky == 0,
        "interrupted": interrupted > 0 and outcome not in _WITHOUT_RESULT,
        "missing": (missing > 0 and outcome not in _WITHOUT_RESULT)
        or (outcome == "incomplete" and missing + interrupted == 0),
        "total": total == 0 or listed > total,
    }
    for name, wrong in problems.items():
        if wrong:
            counts = f"total {total}, failed {failed}, snoozed {snoozed}, flaky {flaky}"
            counts += f", missing {missing}, interrupted {interrupted}"
            raise FieldError(name, f"a run cannot be {outcome} with {counts}")
    skipped = given.get("skipped", 0)
    return Plan(outcome, total, failed, flaky, skipped, snoozed, missing, interrupted)


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
