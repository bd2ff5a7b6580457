"""What the numbers of an ended run come to, where the service may tell only some of them."""

from __future__ import annotations

from empirical_provider.models import TestResult, TestRun
from empirical_provider.policy import GatePolicy

__all__ = [
    "failures_of",
    "may_pass_by_its_failures",
    "missing_from",
    "ran_of",
    "too_flaky",
    "total_of",
    "unclear_of",
]


def failures_of(run: TestRun, policy: GatePolicy) -> int | None:
    """Return the failures that count: the best count there is, else the stricter one."""
    after_snoozing, all_of_them = run.failed_count_after_snoozing, run.failed_count
    if after_snoozing is not None and not policy.count_snoozed_failures:
        return after_snoozing
    failed = [test for test in run.tests if test.kind == "failed"]
    listed = sum(policy.count_snoozed_failures or not test.snoozed for test in failed)
    if all_of_them is not None:
        return max(all_of_them, listed)
    if not run.tests:
        return after_snoozing or None  # there are these at least; none of them is not none at all
    failures = max(listed, after_snoozing or 0)
    if not failures and unclear_of(run):
        return None  # what cannot be read may be a failure
    return failures


def too_flaky(run: TestRun, policy: GatePolicy) -> str | None:
    """Return how many flaky tests there are, in words, if a policy forbids so many."""
    if policy.max_flaky is None:
        return None
    flaky = run.flaky_count
    if flaky is None and run.tests:
        flaky = sum(test.kind == "flaky" for test in run.tests)
    if flaky is None:
        return "an unknown number"
    return str(flaky) if flaky > policy.max_flaky else None


def total_of(run: TestRun) -> int:
    """Return how many tests there are by the total; where it is not told, by those listed."""
    return _listed_as_run(run) if run.total_count is None else run.total_count


def ran_of(run: TestRun) -> int:
    """Return how many tests ran; what is not told counts as none.

    Whether the passed tests hold the flaky ones, and the total those that were skipped, is not
    documented: so many ran at the most. The total alone is believed but for what was skipped.
    """
    total, listed = run.total_count, _listed_as_run(run)
    if total is None:
        return listed
    if run.success_count is not None:
        return min(run.success_count + (run.flaky_count or 0) + _failed(run), total)
    skipped = run.skipped_count
    if skipped is None:
        skipped = sum(test.kind == "skipped" for test in run.tests)
    return min(max(total - skipped if skipped <= total else total, listed), total)


def missing_from(run: TestRun) -> int:
    """Return how many tests of the total are in no count, under every reading of the counts.

    0 where the passed tests are not counted, as in the oldest responses: then nothing is known.
    """
    if run.total_count is None or run.success_count is None:
        return 0
    counted = run.success_count + _failed(run) + (run.flaky_count or 0) + (run.skipped_count or 0)
    return max(0, run.total_count - counted)


def unclear_of(run: TestRun) -> list[TestResult]:
    """Return the tests that are listed with a status that is no known result."""
    return [test for test in run.tests if not test.kind]


def may_pass_by_its_failures(run: TestRun, policy: GatePolicy) -> bool:
    """Say whether to run again only the tests that failed can turn a red run green.

    That run has no other tests: they must be as many as the policy asks for, and the others must
    have kept its limits and have a result.
    """
    failures = failures_of(run, policy) or 0
    return (
        failures >= max(1, policy.min_tests)
        and too_flaky(run, policy) is None
        and not missing_from(run)
        and not unclear_of(run)
    )


def _failed(run: TestRun) -> int:
    """Return how many tests failed by the counts, snoozed ones included as far as they are told."""
    return (run.failed_count_after_snoozing or 0) if run.failed_count is None else run.failed_count


def _listed_as_run(run: TestRun) -> int:
    return sum(test.kind != "skipped" for test in run.tests)
