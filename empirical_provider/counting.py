"""What the numbers of an ended run come to, where the service may tell only some of them."""

from __future__ import annotations

from empirical_provider.models import TestRun
from empirical_provider.policy import GatePolicy

__all__ = ["failures_of", "may_pass_by_its_failures", "too_flaky", "total_of"]

_STATUSES = {"passed", "failed", "flaky", "skipped"}
"""What a test's status says for sure."""


def failures_of(run: TestRun, policy: GatePolicy) -> int | None:
    """Return the failures that count: the best count there is, else the stricter one."""
    after_snoozing, all_of_them = run.failed_count_after_snoozing, run.failed_count
    if after_snoozing is not None and not policy.count_snoozed_failures:
        return after_snoozing
    if all_of_them is not None:
        return all_of_them
    if not run.tests:
        return after_snoozing or None  # there are these at least; none of them is not none at all
    failed = [test for test in run.tests if test.status == "failed"]
    listed = sum(policy.count_snoozed_failures or not test.snoozed for test in failed)
    failures = max(listed, after_snoozing or 0)
    if not failures and any(test.status not in _STATUSES for test in run.tests):
        return None  # what cannot be read may be a failure
    return failures


def too_flaky(run: TestRun, policy: GatePolicy) -> str | None:
    """Return how many flaky tests there are, in words, if a policy forbids so many."""
    if policy.max_flaky is None:
        return None
    flaky = run.flaky_count
    if flaky is None and run.tests:
        flaky = sum(test.status == "flaky" for test in run.tests)
    if flaky is None:
        return "an unknown number"
    return str(flaky) if flaky > policy.max_flaky else None


def total_of(run: TestRun) -> int:
    """Return how many tests ran; what is not told counts as none."""
    if run.total_count is not None:
        return run.total_count
    return sum(test.status != "skipped" for test in run.tests)


def may_pass_by_its_failures(run: TestRun, policy: GatePolicy) -> bool:
    """Say whether to run again only the tests that failed can turn a red run green.

    That run has no other tests: they must be as many as the policy asks for, and the others must
    have kept its limits.
    """
    failures = failures_of(run, policy) or 0
    return failures >= max(1, policy.min_tests) and too_flaky(run, policy) is None
