"""The verdict: every state, count and policy that the rules tell apart."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from empirical_provider import (
    CountsDict,
    Decision,
    GatePolicy,
    InvalidRequestError,
    Outcome,
    TestResult,
    TestRun,
    TestRunState,
    TestsFailedError,
    Verdict,
    VerdictDict,
    WaitTimedOutError,
)
from empirical_provider.verdict import judge

GREEN: dict[str, Any] = {
    "total_count": 48,
    "success_count": 48,
    "failed_count": 0,
    "failed_count_after_snoozing": 0,
    "flaky_count": 0,
}
FAILED_ROW = TestResult(name="cart.spec.ts > pays", status="failed")
SNOOZED_ROW = TestResult(name="cart.spec.ts > ships", status="failed", snoozed=True)
FLAKY_ROW = TestResult(name="cart.spec.ts > adds", status="flaky")
ODD_ROW = TestResult(name="cart.spec.ts > waits", status="timedOut")
PASSED_ROW = TestResult(name="cart.spec.ts > opens", status="passed")
UNKNOWN = {"failed_count": None, "failed_count_after_snoozing": None}
RED = {"failed_count": 1, "failed_count_after_snoozing": 1}


def run(state: str = "ended", **fields: Any) -> TestRun:
    return TestRun(id=456, state=TestRunState(state), **{**GREEN, **fields})


CASES: list[tuple[str, TestRun, dict[str, Any], str]] = [
    ("all passed", run(), {}, "passed"),
    ("one failed", run(failed_count=1, failed_count_after_snoozing=1), {}, "failed"),
    ("all failures snoozed", run(failed_count=2, failed_count_after_snoozing=0), {}, "passed"),
    (
        "snoozed failures count if asked for",
        run(failed_count=2, failed_count_after_snoozing=0),
        {"count_snoozed_failures": True},
        "failed",
    ),
    (
        "without the count after snoozing, all failures count",
        run(failed_count=1, failed_count_after_snoozing=None),
        {},
        "failed",
    ),
    (
        "without the count after snoozing, no failures are none",
        run(failed_count=0, failed_count_after_snoozing=None),
        {},
        "passed",
    ),
    ("without counts, the rows are counted", run(**UNKNOWN, tests=(FAILED_ROW,)), {}, "failed"),
    ("a snoozed row is no failure", run(**UNKNOWN, tests=(SNOOZED_ROW, PASSED_ROW)), {}, "passed"),
    (
        "a snoozed row is one if asked for",
        run(**UNKNOWN, tests=(SNOOZED_ROW, PASSED_ROW)),
        {"count_snoozed_failures": True},
        "failed",
    ),
    ("neither counts nor rows", run(**UNKNOWN), {}, "error"),
    ("a row that cannot be read", run(**UNKNOWN, tests=(ODD_ROW, PASSED_ROW)), {}, "error"),
    ("one beside a failure", run(**UNKNOWN, tests=(ODD_ROW, FAILED_ROW)), {}, "failed"),
    ("a row without a known result", run(tests=(ODD_ROW, PASSED_ROW)), {}, "incomplete"),
    ("tests that are in no count", run(success_count=10), {}, "incomplete"),
    ("one that is in no count", run(success_count=47), {}, "incomplete"),
    ("those that were skipped are in one", run(success_count=40, skipped_count=8), {}, "passed"),
    ("skipped and flaky ones on top", run(skipped_count=9, flaky_count=9), {}, "passed"),
    ("nothing but skipped", run(success_count=0, skipped_count=48), {}, "no_tests"),
    ("nothing in any count", run(success_count=0), {}, "no_tests"),
    ("a failure tells more than what is missing", run(success_count=9, **RED), {}, "failed"),
    (
        "fewer ran than must run, whatever the total",
        run(success_count=40, skipped_count=8),
        {"min_tests": 41},
        "no_tests",
    ),
    (
        "the oldest responses",
        TestRun(id=456, state=TestRunState.ENDED, total_count=48, failed_count=0),
        {},
        "passed",
    ),
    (
        "without the count of all, those after snoozing are some of them",
        run(failed_count=None, failed_count_after_snoozing=4, tests=(PASSED_ROW,)),
        {"count_snoozed_failures": True},
        "failed",
    ),
    (
        "also without rows",
        run(failed_count=None, failed_count_after_snoozing=4),
        {"count_snoozed_failures": True},
        "failed",
    ),
    (
        "without the count of all, none after snoozing tells nothing",
        run(failed_count=None),
        {"count_snoozed_failures": True},
        "error",
    ),
    ("no tests at all", run(total_count=0, success_count=0), {}, "no_tests"),
    ("no total and no rows", run(total_count=None), {}, "no_tests"),
    ("no total but rows", run(total_count=None, tests=(PASSED_ROW,)), {}, "passed"),
    ("as many as must run", run(), {"min_tests": 48}, "passed"),
    ("fewer than must run", run(), {"min_tests": 49}, "no_tests"),
    ("none need to run", run(total_count=0, success_count=0), {"min_tests": 0}, "passed"),
    (
        "a failure tells more than too few tests",
        run(total_count=1, failed_count=1, failed_count_after_snoozing=1),
        {"min_tests": 2},
        "failed",
    ),
    ("flaky is green", run(flaky_count=9), {}, "passed"),
    ("flaky up to the limit", run(flaky_count=2), {"max_flaky": 2}, "passed"),
    ("flaky beyond the limit", run(flaky_count=3), {"max_flaky": 2}, "failed"),
    ("flaky unknown with a limit", run(flaky_count=None), {"max_flaky": 2}, "failed"),
    (
        "flaky counted from the rows",
        run(flaky_count=None, tests=(FLAKY_ROW, PASSED_ROW)),
        {"max_flaky": 1},
        "passed",
    ),
    ("more failed than ran", run(failed_count=49), {}, "error"),
    ("fewer than none failed", run(failed_count_after_snoozing=-1), {}, "error"),
    ("fewer than none ran", run(total_count=-1), {}, "error"),
    ("more passed than ran", run(success_count=49), {"min_tests": 49}, "error"),
    ("counts without failures, rows with one", run(tests=(FAILED_ROW,)), {}, "error"),
    (
        "snoozed failures count, and there are fewer of all than of the others",
        run(failed_count_after_snoozing=1),
        {"count_snoozed_failures": True},
        "error",
    ),
    (
        "red is red, whatever else",
        run(total_count=1, failed_count=2, failed_count_after_snoozing=2),
        {},
        "failed",
    ),
    ("error", run("error"), {}, "error"),
    ("cancelled", run("cancelled"), {}, "cancelled"),
    (
        "a run is named, and was not read",
        run("cancelled", superseded_by_test_run_id=457),
        {},
        "cancelled",
    ),
    (
        "superseded",
        run("cancelled", superseded_by_test_run_id=457, is_superseded=True),
        {},
        "superseded",
    ),
    ("ended although superseded", run(superseded_by_test_run_id=457), {}, "passed"),
]


@pytest.mark.parametrize(
    ("judged", "policy", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_outcome(judged: TestRun, policy: dict[str, Any], outcome: str) -> None:
    """A run has the outcome that the rules give it; only `passed` opens a gate by default."""
    verdict = judge(judged, GatePolicy.of(policy))
    assert verdict.outcome == outcome
    assert verdict.decision == ("pass" if outcome == "passed" else "fail")
    assert verdict.is_closed is (outcome != "passed")


@pytest.mark.parametrize("decision", ["pass", "fail", "skip"])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_policy_decides_per_outcome(outcome: Outcome, decision: str) -> None:
    """Each outcome can pass, fail or skip, one by one."""
    policy = GatePolicy.of({str(outcome): decision})
    assert policy.decide(outcome) == decision
    others = [each for each in Outcome if each is not outcome]
    assert [policy.decide(each) for each in others] == [GatePolicy().decide(e) for e in others]


@pytest.mark.parametrize("state", ["pending", "queued", "started", "cancelling", "hibernating"])
def test_a_run_that_has_not_finished_is_not_judged(state: str) -> None:
    """A state that is not terminal, known or not, never gets a verdict but by our time-out."""
    with pytest.raises(ValueError, match="nothing to judge yet"):
        judge(run(state), GatePolicy())
    verdict = judge(run(state), GatePolicy(), timed_out="the time-out is 5 s.")
    assert verdict.outcome == Outcome.TIMED_OUT
    assert verdict.is_closed


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"failed": "ignore"}, "policy.failed must be pass or fail or skip, not 'ignore'"),
        ({"faild": "pass"}, "unknown key 'faild'"),
        ({"min_tests": -1}, "policy.min_tests must be at least 0"),
        ({"min_tests": True}, "policy.min_tests must be an integer"),
        ({"max_flaky": 1.5}, "policy.max_flaky must be an integer"),
        ({"count_snoozed_failures": "no"}, "policy.count_snoozed_failures must be True or False"),
        ("strict", "policy must be a mapping, not str"),
    ],
)
def test_a_bad_policy_is_refused_by_name(policy: Any, message: str) -> None:
    """A misspelt or impossible policy is refused when it is made."""
    with pytest.raises(InvalidRequestError) as error:
        GatePolicy.of(policy)
    assert message in str(error.value)


def test_a_policy_comes_back_from_its_data() -> None:
    """A policy written as plain data is read as the same policy."""
    policy = GatePolicy(cancelled="skip", min_tests=5, max_flaky=0)
    assert GatePolicy.of(json.loads(json.dumps(policy.as_dict()))) == policy
    assert GatePolicy.of(None) == GatePolicy()
    assert policy.decide(Outcome.CANCELLED) is Decision.SKIP


def test_a_verdict_is_plain_data() -> None:
    """A verdict survives JSON, with up to twenty failed tests by name and their total."""
    rows = tuple(replace(FAILED_ROW, name=f"test {n}") for n in range(25))
    red = run(
        failed_count=25,
        failed_count_after_snoozing=25,
        tests=(*rows, SNOOZED_ROW),
        url="https://dash.empirical.run/acme/test-runs/456",
        environment="staging",
        commit="c0ffee",
        duration=120000,
    )
    verdict = judge(red, GatePolicy(), elapsed_seconds=61.26)
    data = json.loads(json.dumps(verdict.as_dict()))
    assert Verdict.from_dict(data) == verdict
    assert data["counts"]["failed_after_snoozing"] == 25
    assert (data["elapsed_seconds"], data["duration_raw"]) == (61.3, 120000)
    assert (len(data["failed_tests"]), data["failed_tests_total"]) == (20, 25)
    assert data["summary"] == (
        "Empirical test run 456 in staging failed: 25 of 48 failed. "
        "https://dash.empirical.run/acme/test-runs/456"
    )


def test_the_error_says_it_all_and_survives_pickling() -> None:
    """A closed gate's error names the run, the page and the failed tests, and carries the data."""
    verdict = judge(
        run(failed_count=1, failed_count_after_snoozing=1, tests=(FAILED_ROW,)), GatePolicy()
    )
    error = pickle.loads(pickle.dumps(verdict.error()))
    assert type(error) is TestsFailedError
    assert str(error).startswith("Empirical test run 456 failed: 1 of 48 failed.")
    assert "\n  - cart.spec.ts > pays" in str(error)
    assert (error.run_id, error.verdict) == (456, verdict.as_dict())
    late = judge(run("queued"), GatePolicy(), timed_out="the time-out is 5 s.")
    assert type(late.error()) is WaitTimedOutError


def test_the_plain_data_has_the_keys_of_its_type() -> None:
    """The `VerdictDict` of type checkers is what `as_dict` returns, at both levels."""
    told = judge(run(), GatePolicy()).as_dict()

    assert list(told) == list(VerdictDict.__annotations__)
    assert list(told["counts"]) == list(CountsDict.__annotations__)
