"""A verdict is about the commit that was released, or it is none that opens the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    GatePolicy,
    InvalidRequestError,
    TestRun,
    TestRunRequest,
    TestRunState,
    Verdict,
    WrongCommitError,
)
from empirical_provider.verdict import judge

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

TESTED = "3f786850e387550fdab836ed7e6dc881de23001b"
OTHER = "89e6c98d92887913cadf06b2adb97f26cde4849b"
GREEN = {"total_count": 3, "failed_count": 0}


def run(state: str = "ended", **fields: Any) -> TestRun:
    return TestRun(id=456, state=TestRunState(state), **{**GREEN, "commit": TESTED, **fields})


@pytest.mark.parametrize(
    ("told", "expected", "outcome"),
    [
        (run(), TESTED, "passed"),
        (run(), TESTED.upper(), "passed"),
        (run(), f" {TESTED[:7]} ", "passed"),
        (run(commit=TESTED[:12]), TESTED, "passed"),
        (run(), OTHER, "wrong_commit"),
        (run(), OTHER[:7], "wrong_commit"),
        (run(), TESTED[:6], "wrong_commit"),  # too short to tell commits apart
        (run(commit=""), TESTED, "passed"),  # the service does not tell
        (run(commit=None), TESTED, "passed"),
        (run(), None, "passed"),
        (run(failed_count=1), OTHER, "wrong_commit"),
        (run(total_count=0), OTHER, "wrong_commit"),
        (run("error"), OTHER, "error"),
        (run("cancelled"), OTHER, "cancelled"),
    ],
)
def test_the_outcome(told: TestRun, expected: str | None, outcome: str) -> None:
    """A result on another commit is neither green nor red, whatever it is; a run without a result
    is judged as ever."""
    assert judge(told, GatePolicy(), expect_commit=expected).outcome == outcome


def test_it_is_told() -> None:
    """The error names both commits, and the verdict keeps them as data."""
    verdict = judge(run(), GatePolicy(), expect_commit=OTHER)
    error = verdict.error()
    assert isinstance(error, WrongCommitError)
    assert f"has tested another commit: {TESTED}, and not {OTHER}." in str(error)
    assert Verdict.from_dict(verdict.as_dict()) == verdict
    assert (verdict.commit, verdict.expected_commit) == (TESTED, OTHER)


@pytest.mark.parametrize(
    ("told", "outcome", "decision"),
    [(run(), "passed", "pass"), (run(failed_count=1), "failed", "fail")],
)
def test_the_policy_decides(told: TestRun, outcome: str, decision: str) -> None:
    """Who lets another commit pass has the run judged by its tests: red ones stay red."""
    verdict = judge(told, GatePolicy.of({"wrong_commit": "pass"}), expect_commit=OTHER)
    assert (verdict.outcome, verdict.decision) == (outcome, decision)
    assert (verdict.commit, verdict.expected_commit) == (TESTED, OTHER)


def test_a_replaced_build_is_noticed(empirical: Emulator, ask: Twin) -> None:
    """A run that the service shows with another commit than was asked for does not pass."""
    empirical.script("staging", "passed", commit=OTHER)
    run = ask.trigger_test_run(TestRunRequest(environment="staging", build={"commit": TESTED}))
    assert ask.wait_for_test_run(run.id, expect_commit=TESTED).outcome == "wrong_commit"


def start(empirical: Emulator, ask: Twin, **build: str) -> int:
    empirical.script("staging", "passed")
    request = TestRunRequest(environment="staging", build=build or None)
    run_id: int = ask.trigger_test_run(request).id
    return run_id


def test_a_wait_expects_a_commit(empirical: Emulator, ask: Twin) -> None:
    """The wait's verdict closes the gate on another commit, and opens it on the right one."""
    run_id = start(empirical, ask, commit=TESTED)
    assert ask.wait_for_test_run(run_id, expect_commit=OTHER).outcome == "wrong_commit"
    assert ask.wait_for_test_run(run_id, expect_commit=TESTED[:9]).outcome == "passed"


def test_the_list_tells_where_the_run_does_not(empirical: Emulator, ask: Twin) -> None:
    """Where only lists show the commit, a finished run is looked up in one, once."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = start(empirical, ask, commit=TESTED)
    assert ask.wait_for_test_run(run_id, expect_commit=OTHER).outcome == "wrong_commit"
    lists = [each for each in empirical.requests if each.endpoint == "list_test_runs"]
    assert len(lists) == 1


def test_what_nobody_tells_closes_no_gate(empirical: Emulator, ask: Twin) -> None:
    """Where page and list report no commit, the run's own result counts; `test_read_in_list` has
    what becomes of a list that cannot be read."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    run_id = start(empirical, ask)
    verdict = ask.wait_for_test_run(run_id, expect_commit=OTHER)
    assert (verdict.outcome, verdict.commit) == ("passed", None)


def test_nothing_is_asked_that_nobody_expects(empirical: Emulator, ask: Twin) -> None:
    """Without an expectation there is no request for a list."""
    empirical.behave(echo_in_detail=empirical.behaviour.echo_in_detail - {"commit"})
    ask.wait_for_test_run(start(empirical, ask, commit=TESTED))
    assert "list_test_runs" not in [each.endpoint for each in empirical.requests]


@pytest.mark.parametrize("given", ["", "  ", 7, ["abc"]])
def test_a_bad_expectation_is_refused(given: Any, empirical: Emulator, ask: Twin) -> None:
    """What is no commit is refused by name before the first look."""
    with pytest.raises(InvalidRequestError, match="expect_commit must be a non-empty string"):
        ask.wait_for_test_run(1, expect_commit=given)
    assert empirical.requests == []
