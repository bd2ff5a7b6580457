"""What a finished run may come to, and what a gate makes of each: the user's policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from empirical_provider import checks

__all__ = ["AFTER_RED", "Decision", "GatePolicy", "Outcome"]

AFTER_RED = ("fail", "rerun_failed", "rerun_all")
"""What a further attempt may make of red tests."""


class Outcome(StrEnum):
    """What became of a test run, as far as a gate cares.

    Attributes:
        PASSED: ``passed``: it has ended, enough tests ran, and no failure counts.
        FAILED: ``failed``: tests failed, or more were flaky than ``max_flaky`` allows.
        ERROR: ``error``: it is in error; or it has ended, but does not tell how many tests failed,
            or tells numbers that cannot be true.
        CANCELLED: ``cancelled``: somebody, or a concurrency limit, has ended it.
        SUPERSEDED: ``superseded``: it was cancelled, and a newer run took its place.
        NO_TESTS: ``no_tests``: it has ended, and fewer tests ran than ``min_tests``.
        INCOMPLETE: ``incomplete``: it has ended, no failure counts, and not all tests are accounted
            for: they are in the total only, or listed with a status that is no known result.
        WRONG_COMMIT: ``wrong_commit``: it has tested another commit than the one that was expected.
        TIMED_OUT: ``timed_out``: we stopped waiting for it.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    NO_TESTS = "no_tests"
    INCOMPLETE = "incomplete"
    WRONG_COMMIT = "wrong_commit"
    TIMED_OUT = "timed_out"


class Decision(StrEnum):
    """What a gate does about an outcome.

    Attributes:
        PASS: ``pass``: it opens.
        FAIL: ``fail``: it stays closed. A host's task fails, and so does the command.
        SKIP: ``skip``: Airflow skips the task, a Prefect task returns the verdict, and the command
            ends with the status of the outcome.
    """

    PASS = "pass"  # noqa: S105  # a gate's word, no password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What the gate does, outcome by outcome: ``fail``, ``skip`` or ``pass``. It fails closed.

    Args:
        passed: The tests passed; default ``pass``.
        failed: Tests failed; default ``fail``, like all that follow.
        error: The run has no usable result.
        cancelled: Somebody cancelled the run.
        superseded: A newer run took its place.
        no_tests: Fewer tests ran than ``min_tests``.
        incomplete: Not all tests are accounted for.
        wrong_commit: Another commit was tested than the one that was expected; with ``pass`` the
            run is judged like one on the right commit.
        timed_out: We stopped waiting; the run's fate is not known.
        min_tests: Number of tests that must have run, default 1.
        max_flaky: Most flaky tests that still count as passed; default None: any number.
        count_snoozed_failures: Whether a snoozed failure is a failure; default False.

    Raises:
        InvalidRequestError: A value is not valid; the message names its field.
    """

    passed: str = Decision.PASS
    failed: str = Decision.FAIL
    error: str = Decision.FAIL
    cancelled: str = Decision.FAIL
    superseded: str = Decision.FAIL
    no_tests: str = Decision.FAIL
    incomplete: str = Decision.FAIL
    wrong_commit: str = Decision.FAIL
    timed_out: str = Decision.FAIL
    min_tests: int = 1
    max_flaky: int | None = None
    count_snoozed_failures: bool = False

    def __post_init__(self) -> None:
        words = [decision.value for decision in Decision]
        for outcome in Outcome:
            given = getattr(self, outcome)
            checks.one_of(f"policy.{outcome}", given, words)
            object.__setattr__(self, outcome, Decision(given))
        checks.whole_number("policy.min_tests", self.min_tests, at_least=0)
        if self.max_flaky is not None:
            checks.whole_number("policy.max_flaky", self.max_flaky, at_least=0)
        checks.flag("policy.count_snoozed_failures", self.count_snoozed_failures)

    @classmethod
    def of(cls, value: GatePolicy | Mapping[str, Any] | None) -> GatePolicy:
        """Read what users write: nothing, a policy, or a mapping of its fields."""
        if isinstance(value, GatePolicy):
            return value
        given = checks.as_mapping("policy", {} if value is None else value)
        checks.known_keys("policy", given, [each.name for each in fields(cls)])
        return cls(**given)

    def decide(self, outcome: Outcome) -> Decision:
        """Return what to do about an outcome."""
        return Decision(getattr(self, outcome))

    def changes(self) -> dict[str, Any]:
        """Return what differs from the defaults, as plain data.

        Stored names are made of it, so that they outlast a version that knows one more outcome.
        """
        default = GatePolicy().as_dict()
        return {name: v for name, v in self.as_dict().items() if v != default[name]}

    def as_dict(self) -> dict[str, Any]:
        """Return the policy as plain data, the way `of` reads it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: str(v) if isinstance(v, Decision) else v for name, v in values.items()}
