"""The verdict on a test run: one pure function, used by every host and every way to wait.

The service documents no rule for "passed"; this is the one that its own tests go by: the run has
``ended``, no failure is left after snoozing, and all tests are accounted for. Where counts are
missing, the stricter reading of what is there holds; where they cannot be true, nothing is passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypedDict, cast

from empirical_provider import checks, exceptions
from empirical_provider.counting import (
    failures_of,
    missing_from,
    ran_of,
    too_flaky,
    total_of,
    unclear_of,
)
from empirical_provider.credibility import COUNTS, incredible
from empirical_provider.exceptions import GateClosedError
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.policy import Decision, GatePolicy, Outcome
from empirical_provider.wait_options import is_same_commit

__all__ = ["Counts", "CountsDict", "Verdict", "VerdictDict", "judge"]

_MOST_NAMES = 20
_MOST_WORDS = 3
_LONGEST_WORD = 40

_STRICTEST_FIRST = (Decision.FAIL, Decision.SKIP, Decision.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many tests; None where the service does not tell.

    Attributes:
        total: Tests that were executed.
        passed: Tests that passed.
        failed: Tests that failed, snoozed ones included.
        failed_after_snoozing: Tests that failed and are not snoozed.
        skipped: Tests that were skipped.
        flaky: Tests that failed first and passed on a retry.
    """

    total: int | None = None
    passed: int | None = None
    failed: int | None = None
    failed_after_snoozing: int | None = None
    skipped: int | None = None
    flaky: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Counts:
        """Return the counts that are in stored data; what is missing is not known."""
        return cls(**_known(cls, data))


class CountsDict(TypedDict):
    """The `Counts` as plain data, in a `VerdictDict`."""

    total: int | None
    passed: int | None
    failed: int | None
    failed_after_snoozing: int | None
    skipped: int | None
    flaky: int | None


class VerdictDict(TypedDict):
    """A `Verdict` as plain data: what tasks return, and what errors and stored values hold.

    The keys are the fields of `Verdict`.
    """

    outcome: str
    decision: str
    run_id: int
    url: str | None
    counts: CountsDict
    error_code: str | None
    elapsed_seconds: float | None
    duration_raw: float | None
    environment: str | None
    branch: str | None
    commit: str | None
    failed_tests: list[str]
    failed_tests_total: int
    summary: str
    rerun_source_id: int | None
    expected_commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a run and what the gate does about it; plain data.

    Attributes:
        outcome: What became of the run.
        decision: What the policy makes of it.
        run_id: Database id of the run.
        url: Dashboard page, if known.
        counts: Numbers of tests.
        error_code: Why a run in state ``error`` has no result.
        elapsed_seconds: How long we waited, by our own clock.
        duration_raw: The service's number for the run's duration; its unit is not documented.
        environment: Slug of the environment, if known.
        branch: Branch of the test repository.
        commit: Commit of the build.
        failed_tests: Names of failed tests, at most 20 of them.
        failed_tests_total: How many there are in all.
        summary: One sentence for people.
        rerun_source_id: Id of the run whose tests this one has run again, if it is a re-run.
        expected_commit: The commit that was to be tested, where one was expected.
    """

    outcome: Outcome
    decision: Decision
    run_id: int
    url: str | None
    counts: Counts
    error_code: str | None
    elapsed_seconds: float | None
    duration_raw: float | None
    environment: str | None
    branch: str | None
    commit: str | None
    failed_tests: tuple[str, ...]
    failed_tests_total: int
    summary: str
    # Verdicts that were stored before there were these lack them.
    rerun_source_id: int | None = None
    expected_commit: str | None = None

    def as_dict(self) -> VerdictDict:
        """Return the verdict as JSON-able data."""
        data = {
            **asdict(self),
            "outcome": str(self.outcome),
            "decision": str(self.decision),
            "failed_tests": list(self.failed_tests),
        }
        return cast("VerdictDict", data)

    @property
    def is_closed(self) -> bool:
        """Whether the gate stays closed."""
        return self.decision == Decision.FAIL

    def error(self) -> GateClosedError:
        """Return the error that says all this; its class is the outcome's own."""
        more = self.failed_tests_total - len(self.failed_tests)
        # The space ends the link where a host shows the text in quotes, and the line break as "\n".
        names = "".join(f" \n  - {name}" for name in self.failed_tests)
        rest = f"\n  and {more} more" if more else ""
        return _ERRORS[self.outcome](
            f"{self.summary}{names}{rest}",
            verdict=self.as_dict(),
            run_id=self.run_id,
            run_url=self.url,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Return the verdict that `as_dict` was made of, by this version of the package or another.

        Unknown keys are ignored. Missing ones have defaults, except run_id, outcome and decision.

        Raises:
            KeyError: One of these three is missing.
            TypeError: The data, or a part of it, is not of the type that `as_dict` writes.
            ValueError: One of these three is not valid.
        """
        given = _known(cls, data)
        run_id = checks.whole_number("run_id", data["run_id"], at_least=1)
        failed_tests = tuple(given.get("failed_tests", ()))
        return cls(
            **{
                **{each.name: None for each in fields(cls) if each.default is MISSING},
                "failed_tests_total": len(failed_tests),
                "summary": f"Empirical test run {run_id}: {data['outcome']}.",
                **given,
                "run_id": run_id,
                "outcome": Outcome(data["outcome"]),
                "decision": Decision(data["decision"]),
                "counts": Counts.from_dict(given.get("counts", {})),
                "failed_tests": failed_tests,
            }
        )


def _known(kind: type[Counts | Verdict], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a kind that are in stored data; null is what is missing."""
    if not isinstance(data, Mapping):
        raise TypeError(f"{kind.__name__} is stored as a mapping, not as {type(data).__name__}")
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names and value is not None}


def judge(
    run: TestRun,
    policy: GatePolicy,
    *,
    elapsed_seconds: float | None = None,
    timed_out: str | None = None,
    expect_commit: str | None = None,
) -> Verdict:
    """Judge a run under a policy.

    Args:
        run: The run as last seen; it must be in a terminal state unless ``timed_out`` is given.
        policy: What to do about each outcome.
        elapsed_seconds: How long we waited.
        timed_out: Which clock ran out, as the end of a sentence, if one did.
        expect_commit: The commit that must have been tested, if the run tells which was; either may
            be abbreviated.

    Raises:
        ValueError: The run has not finished, so there is nothing to judge.
    """
    if timed_out is not None:
        outcome, reason = Outcome.TIMED_OUT, timed_out
    elif policy.wrong_commit != Decision.PASS and _is_on_another(run, expect_commit):
        outcome, reason = Outcome.WRONG_COMMIT, f"{run.commit}, and not {expect_commit}."
    else:
        outcome, reason = _outcome(run, policy)
    decision = policy.decide(outcome)
    if outcome == Outcome.ERROR and decision == Decision.PASS and _inconsistency(run):
        decision = Decision.FAIL  # no policy opens the gate on what cannot be true
    failed = [test for test in run.tests if test.kind == "failed"]
    if not policy.count_snoozed_failures:
        failed = [test for test in failed if not test.snoozed]
    where = f" in {run.environment}" if run.environment else ""
    return Verdict(
        outcome=outcome,
        decision=decision,
        run_id=run.id,
        url=run.url,
        counts=_counts(run),
        error_code=run.error_code,
        elapsed_seconds=None if elapsed_seconds is None else round(elapsed_seconds, 1),
        duration_raw=run.duration,
        environment=run.environment,
        branch=run.branch,
        commit=run.commit,
        failed_tests=tuple(test.name for test in failed[:_MOST_NAMES]),
        failed_tests_total=len(failed),
        summary=f"Empirical test run {run.id}{_again(run)}{where} {_WORDS[outcome]}: {reason}"
        f"{f' {run.url}' if run.url else ''}",
        rerun_source_id=run.rerun_source_id,
        expected_commit=expect_commit,
    )


_ERRORS: dict[Outcome, type[GateClosedError]] = {
    Outcome.PASSED: GateClosedError,  # a policy may close the gate even then
    Outcome.FAILED: exceptions.TestsFailedError,
    Outcome.ERROR: exceptions.RunErroredError,
    Outcome.CANCELLED: exceptions.RunCancelledError,
    Outcome.SUPERSEDED: exceptions.RunSupersededError,
    Outcome.NO_TESTS: exceptions.NoTestsError,
    Outcome.INCOMPLETE: exceptions.RunIncompleteError,
    Outcome.WRONG_COMMIT: exceptions.WrongCommitError,
    Outcome.TIMED_OUT: exceptions.WaitTimedOutError,
}

_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "ended in error",
    Outcome.CANCELLED: "was cancelled",
    Outcome.SUPERSEDED: "was superseded",
    Outcome.NO_TESTS: "ran too few tests",
    Outcome.INCOMPLETE: "is incomplete",
    Outcome.WRONG_COMMIT: "has tested another commit",
    Outcome.TIMED_OUT: "was not waited for any longer",
}


def _again(run: TestRun) -> str:
    return "" if run.rerun_source_id is None else f" (a re-run of {run.rerun_source_id})"


def _is_on_another(run: TestRun, expected: str | None) -> bool:
    """Say whether a run with a result has tested another commit than it should."""
    tested = (run.commit or "").strip()
    if expected is None or not tested or run.state != TestRunState.ENDED:
        return False
    return not is_same_commit(tested, expected)


def _outcome(run: TestRun, policy: GatePolicy) -> tuple[Outcome, str]:
    """Return the outcome of a finished run and the reason in words."""
    if run.state == TestRunState.ENDED:
        return _outcome_of_ended(run, policy)
    if run.state == TestRunState.ERROR:
        code = f" ({run.error_code})" if run.error_code else ""
        return Outcome.ERROR, f"it has no usable result{code}."
    if run.state == TestRunState.CANCELLED:
        if run.is_superseded:
            return Outcome.SUPERSEDED, f"run {run.superseded_by_test_run_id} took its place."
        return Outcome.CANCELLED, "somebody, or a concurrency limit, ended it."
    raise ValueError(f"Test run {run.id} is {run.state}: there is nothing to judge yet.")


def _outcome_of_ended(run: TestRun, policy: GatePolicy) -> tuple[Outcome, str]:
    wrong = _inconsistency(run)
    if wrong is not None:
        return Outcome.ERROR, f"it ended, but {wrong}."
    failures = failures_of(run, policy)
    if failures is None:
        return Outcome.ERROR, "it ended, but does not tell how many tests failed."
    against = [*_against(run, policy, failures)]
    if not against:
        return Outcome.PASSED, _passed(run, failures)
    # To let one of them pass is to say nothing about the others.
    return min(against, key=lambda each: _STRICTEST_FIRST.index(policy.decide(each[0])))


def _inconsistency(run: TestRun) -> str | None:
    """Say what cannot be true of a run that has ended, by its answer or by its counts."""
    if run.state != TestRunState.ENDED or run.inconsistency is not None:
        return run.inconsistency
    return incredible({name: getattr(run, name) for name in COUNTS}, run.tests)


def _against(run: TestRun, policy: GatePolicy, failures: int) -> Iterator[tuple[Outcome, str]]:
    """Give all that speaks against a run that has ended; what comes first says most."""
    total, ran, missing, unclear = total_of(run), ran_of(run), missing_from(run), unclear_of(run)
    if failures > 0:
        yield Outcome.FAILED, f"{failures} of {total} failed."
    if ran < policy.min_tests:
        yield Outcome.NO_TESTS, f"{ran} ran, and at least {policy.min_tests} must."
    why = [f"{missing} of {total} neither passed, failed nor were skipped"] if missing else []
    if unclear:
        words = sorted({test.status[:_LONGEST_WORD] for test in unclear})[:_MOST_WORDS]
        told = ", ".join(map(repr, words))
        why.append(f"{len(unclear)} of the tests listed have no known result, but {told}")
    if why:
        yield Outcome.INCOMPLETE, f"{', and '.join(why)}."
    flaky = too_flaky(run, policy)
    if flaky is not None:
        yield Outcome.FAILED, f"{flaky} of {total} flaky, at most {policy.max_flaky} may be."


def _passed(run: TestRun, failures: int) -> str:
    """Say how many have passed, and what became of the others."""
    failed, total = run.failed_count, total_of(run)
    if failed is None:
        failed = sum(test.kind == "failed" for test in run.tests)
    passed = max(0, ran_of(run) - failed) if run.success_count is None else run.success_count
    others = {
        "flaky": run.flaky_count,
        "failed but snoozed": max(0, failed - failures),
        "skipped": run.skipped_count,
    }
    aside = "".join(f", {number} {word}" for word, number in others.items() if number)
    return f"{min(passed, total)} of {total}{aside}."


def _counts(run: TestRun) -> Counts:
    return Counts(
        total=run.total_count,
        passed=run.success_count,
        failed=run.failed_count,
        failed_after_snoozing=run.failed_count_after_snoozing,
        skipped=run.skipped_count,
        flaky=run.flaky_count,
    )
