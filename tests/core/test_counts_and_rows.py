"""What counts as passed, over random counts and rows, against an oracle of the issue's sentences.

The oracle reads the JSON by itself and imports none of the rules. A response that is rejected opens
no gate either, and the run that it leaves behind closes the gate whatever the policy says.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical_provider import GatePolicy, TestResult, TestRun, TestRunState
from empirical_provider.answers import Unreadable
from empirical_provider.counting import may_pass_by_its_failures
from empirical_provider.endpoints import get_test_run
from empirical_provider.verdict import judge

NAMES = (
    "total_count",
    "success_count",
    "failed_count",
    "failed_count_after_snoozing",
    "skipped_count",
    "flaky_count",
)
PASSING = {"passed", "expected", "flaky", "skipped", "fixme"}
WORDS = [*PASSING, "failed", "timedOut", "interrupted", "unexpected", "unknown", "", "did not run"]
SNOOZE = [{"snooze_id": 1}]


def verdict_on(counts: dict[str, Any], rows: Any = None, policy: Any = None) -> Any:
    """Judge a run that has ended, as a wait does once it has given up on a better response."""
    run = {"id": 456, "state": "ended", **counts}
    response = {"data": {"test_run": {"testRun": run, "flattenedSummaryDetails": rows}}}
    try:
        found = get_test_run(456).read(response)
    except Unreadable as error:
        found = error.run
        assert found is not None
    return judge(found, GatePolicy.of(policy))


def outcome_of(counts: dict[str, Any], rows: Any = None, policy: Any = None) -> str:
    return str(verdict_on(counts, rows, policy).outcome)


def row(status: Any, *, snoozed: bool = False) -> dict[str, Any]:
    return {"status": status, "name": "pays", **({"snooze_info": SNOOZE} if snoozed else {})}


# The oracle


def must_be_closed(  # noqa: PLR0911  # one return for each sentence
    counts: dict[str, Any], rows: list[dict[str, Any]]
) -> bool:
    """Whether something is missing, failed, unknown or contradictory, sentence by sentence."""
    told = {name: value for name, value in counts.items() if value is not None}
    if any(type(value) is not int or value < 0 for value in told.values()):
        return True
    total, success = told.get("total_count"), told.get("success_count")
    failed, after = told.get("failed_count"), told.get("failed_count_after_snoozing")
    flaky, skipped = told.get("flaky_count", 0), told.get("skipped_count", 0)
    words = [str(each["status"]).lower() for each in rows]
    is_snoozed = [bool(each.get("snooze_info")) for each in rows]
    failing = [snoozed for word, snoozed in zip(words, is_snoozed, strict=True) if word == "failed"]
    # A row in none of the passing words, nor failed and snoozed.
    if any(word not in PASSING | {"failed"} for word in words) or not all(failing):
        return True
    # A failure that counts, or no word on failures.
    if after is None and failed is None and not rows:
        return True
    if (after if after is not None else failed or 0) > 0:
        return True
    # Numbers that contradict each other.
    if failed is not None and after is not None and after > failed:
        return True
    if total is not None and max(success or 0, failed or 0, flaky) > total:
        return True
    # Tests that did not run, or are missing.
    if total is None:
        return not any(word not in {"skipped", "fixme"} for word in words)
    if success is not None:
        gone_wrong = failed if failed is not None else after or 0
        if success + flaky + gone_wrong == 0:
            return True
        return success + gone_wrong + flaky + skipped < total
    listed = sum(word in {"skipped", "fixme"} for word in words)
    out = skipped if "skipped_count" in told else listed
    ran = sum(word not in {"skipped", "fixme"} for word in words)
    return total == 0 or (out == total and ran == 0)


COUNT = st.none() | st.integers(0, 6)
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(WORDS).flatmap(
            lambda word: st.sampled_from([word, word.upper(), word.capitalize()])
        ),
        snoozed=st.booleans(),
    ),
    max_size=6,
)
HEALTHY_ROWS = st.lists(
    st.sampled_from([row("passed"), row("Flaky"), row("SKIPPED"), row("failed", snoozed=True)]),
    max_size=6,
)


@st.composite
def responses(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return counts and rows: some at random, some of a healthy run with one thing changed."""
    if draw(st.booleans()):
        return {name: draw(COUNT) for name in NAMES}, draw(ROWS)
    total = draw(st.integers(1, 6))
    flaky = draw(st.integers(0, total))
    snoozed = draw(st.integers(0, total - flaky))
    skipped = draw(st.integers(0, 3))
    counts: dict[str, Any] = {
        "total_count": total,
        "success_count": total - flaky - snoozed,
        "failed_count": snoozed,
        "failed_count_after_snoozing": 0,
        "skipped_count": skipped,
        "flaky_count": flaky,
    }
    changed = draw(st.sampled_from([*NAMES, None, None, None]))
    if changed is not None:
        counts[changed] = draw(COUNT | st.sampled_from([-1, "0", True, 0.0, [0]]))
    return counts, draw(HEALTHY_ROWS if draw(st.booleans()) else ROWS)


@settings(max_examples=600, deadline=None)
@given(responses())
def test_passed_is_what_the_sentences_say(response: tuple[dict[str, Any], Any]) -> None:
    """A gate is open if, and only if, nothing is missing, failed, unknown or contradictory."""
    counts, rows = response
    verdict = verdict_on(counts, rows)
    assert verdict.is_closed is must_be_closed(counts, rows), verdict.summary
    assert verdict.is_closed is (verdict.outcome != "passed")
    if not verdict.is_closed:
        assert verdict.failed_tests_total == 0


@settings(max_examples=300, deadline=None)
@given(responses())
def test_a_summary_never_says_all_for_tests_that_did_not_run(
    response: tuple[dict[str, Any], Any],
) -> None:
    """ "n of n" stands in no verdict of a run whose reported numbers say that fewer have passed."""
    counts, rows = response
    verdict = verdict_on(counts, rows)
    said = re.search(r"passed: (\d+) of (\d+)", verdict.summary)
    if said is not None and type(counts["success_count"]) is int:
        assert int(said[1]) <= counts["success_count"]


@settings(max_examples=300, deadline=None)
@given(
    passed=st.integers(1, 9),
    snoozed=st.integers(0, 3),
    flaky=st.integers(0, 3),
    skipped=st.integers(0, 3),
    flaky_in_success=st.booleans(),
    skipped_in_total=st.booleans(),
    hidden=st.sets(st.sampled_from(["success_count", "flaky_count", "skipped_count"])),
    lists_rows=st.booleans(),
)
def test_a_healthy_run_passes_under_every_reading(  # noqa: PLR0917  # drawn by name
    passed: int,
    snoozed: int,
    flaky: int,
    skipped: int,
    flaky_in_success: bool,
    skipped_in_total: bool,
    hidden: set[str],
    lists_rows: bool,
) -> None:
    """Whether flaky tests are among the passed and skipped ones in the total is not documented:
    all of its numbers, or the oldest response's, open the gate either way."""
    counts: dict[str, Any] = {
        "total_count": passed + snoozed + flaky + skipped * skipped_in_total,
        "success_count": passed + flaky * flaky_in_success,
        "failed_count": snoozed,
        "failed_count_after_snoozing": 0,
        "skipped_count": skipped,
        "flaky_count": flaky,
    }
    if "success_count" in hidden:
        counts = {name: None if name in hidden else value for name, value in counts.items()}
    words = [("passed", passed), ("flaky", flaky), ("skipped", skipped)]
    rows = [row(word) for word, number in words for _ in range(number)]
    rows += [row("failed", snoozed=True)] * snoozed
    ambiguous = counts["success_count"] is None and skipped == counts["total_count"]
    if not ambiguous or lists_rows:
        assert outcome_of(counts, rows if lists_rows else None) == "passed"


FULL = dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize(
    ("counts", "rows", "outcome"),
    [
        ({**FULL, "total_count": 48, "success_count": 10}, None, "incomplete"),
        ({**FULL, "total_count": 48, "success_count": 47}, None, "incomplete"),
        ({**FULL, "total_count": 10, "skipped_count": 10}, None, "no_tests"),
        ({**FULL, "total_count": 48}, None, "no_tests"),
        ({"total_count": 10, "failed_count": 0, "skipped_count": 10}, None, "no_tests"),
        ({"total_count": 2, "failed_count": 0}, [row("skipped"), row("Fixme")], "no_tests"),
        *(
            ({"total_count": 5, "failed_count": 0}, [row("passed"), row(word)], "incomplete")
            for word in ("timedOut", "interrupted", "INTERRUPTED", "did not run", "", None, 5)
        ),
        ({"total_count": 5, "failed_count": 0}, [row("passed"), None], "incomplete"),
        ({"total_count": 5, "failed_count": 0}, [row("passed"), {"name": "x"}], "incomplete"),
        ({"total_count": 5, "failed_count": 0}, [row("timedOut", snoozed=True)], "incomplete"),
        ({"total_count": 5, "failed_count": 0}, [row("Failed")], "error"),
        ({"total_count": 5, "failed_count": 0}, [row("failed")], "error"),
        (
            {"total_count": 5, "failed_count": 5, "failed_count_after_snoozing": 0},
            [row("failed")] * 5,
            "error",
        ),
        (
            {"total_count": 5, "failed_count": 5, "failed_count_after_snoozing": 0},
            [row("failed", snoozed=True)] * 4 + [row("FAILED")],
            "error",
        ),
        (
            {"total_count": 5, "failed_count": 1, "failed_count_after_snoozing": 0},
            [{**row("failed"), "snooze_info": info} for info in ("", [], None, {}, [None], "no")],
            "error",
        ),
    ],
)
def test_what_was_seen_to_pass_is_closed(counts: dict[str, Any], rows: Any, outcome: str) -> None:
    """Responses that opened the gate, or were polled for two hours, and their kind."""
    assert outcome_of(counts, rows) == outcome


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        (
            {  # the documentation's example of a list item, but for its two failures
                **FULL,
                "total_count": 50,
                "success_count": 48,
                "failed_count": 2,
                "flaky_count": 1,
            },
            None,
        ),
        ({"total_count": 48, "failed_count": 0}, None),
        ({"total_count": 5, "failed_count": 0}, [row(word) for word in PASSING]),
        ({"total_count": 5, "failed_count": 0}, [row(word.upper()) for word in PASSING]),
        (
            {"total_count": 5, "failed_count": 5, "failed_count_after_snoozing": 0},
            [row("Failed", snoozed=True)] * 5,
        ),
        ({**FULL, "total_count": 5, "success_count": 5, "skipped_count": 9}, None),
        ({**FULL, "total_count": 9, "success_count": 5, "skipped_count": 4}, None),
    ],
)
def test_what_has_passed_still_opens_the_gate(counts: dict[str, Any], rows: Any) -> None:
    """Documented examples, the oldest responses and every passing word."""
    assert outcome_of(counts, rows) == "passed"


@pytest.mark.parametrize(
    "policy", [{"error": "pass"}, {"error": "pass", "failed": "pass", "incomplete": "pass"}]
)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failed_count_after_snoozing": "3"}, "failed_count_after_snoozing is no number of tests"),
        ({"total_count": -1}, "total_count is no number of tests"),
        ({"success_count": 6}, r"success_count \(6\) is above its total_count \(5\)"),
    ],
)
def test_no_policy_opens_the_gate_on_a_contradiction(
    changes: dict[str, Any], words: str, policy: dict[str, Any]
) -> None:
    """A run that is left behind by a response that cannot be true closes the gate and says why."""
    counts = {**FULL, "total_count": 5, "success_count": 5, **changes}
    verdict = verdict_on(counts, policy=policy)
    assert (verdict.outcome, verdict.decision) == ("error", "fail")
    assert re.search(words, verdict.summary)


@pytest.mark.parametrize(
    ("policy", "outcome", "decision"),
    [
        ({}, "no_tests", "fail"),
        ({"incomplete": "pass"}, "no_tests", "fail"),
        ({"no_tests": "pass"}, "incomplete", "fail"),
        ({"no_tests": "pass", "incomplete": "skip"}, "incomplete", "skip"),
        ({"no_tests": "skip", "incomplete": "fail"}, "incomplete", "fail"),
        ({"no_tests": "pass", "incomplete": "pass"}, "no_tests", "pass"),
    ],
)
def test_to_pass_one_outcome_passes_no_other(
    policy: dict[str, Any], outcome: str, decision: str
) -> None:
    """Of several things that speak against a run the policy's strictest word counts."""
    counts = {**FULL, "total_count": 48, "success_count": 10}
    verdict = verdict_on(counts, policy={"min_tests": 20, **policy})
    assert (verdict.outcome, verdict.decision) == (outcome, decision)


def test_a_snoozed_failure_beside_a_count_of_none_counts_if_asked_for() -> None:
    """With `count_snoozed_failures` a failure that is only listed is a failure, too."""
    counts, rows = {**FULL, "total_count": 5, "success_count": 5}, [row("failed", snoozed=True)]
    assert outcome_of(counts, rows) == "passed"
    assert outcome_of(counts, rows, {"count_snoozed_failures": True}) == "failed"


def test_the_summary_of_an_incomplete_run_says_what_is_missing() -> None:
    """How many tests are in no count, or which status is not understood."""
    counts = {**FULL, "total_count": 48, "success_count": 10}
    assert "is incomplete: 38 of 48 " in verdict_on(counts).summary
    verdict = verdict_on({"total_count": 2, "failed_count": 0}, [row("passed"), row("timedOut")])
    assert "is incomplete: 1 of the tests listed " in verdict.summary
    assert "timedOut" in verdict.summary


@pytest.mark.parametrize(
    ("changes", "tests", "may_pass"),
    [
        ({}, (), True),
        ({"success_count": 3}, (), False),
        ({}, (TestResult(name="x", status="interrupted"),), False),
    ],
)
def test_to_rerun_what_failed_makes_up_for_nothing_that_is_missing(
    changes: dict[str, Any], tests: tuple[TestResult, ...], may_pass: bool
) -> None:
    """Where other tests have no result, a re-run of the failed ones alone could not tell it."""
    counts = {**FULL, "total_count": 5, "success_count": 4, "failed_count": 1, **changes}
    run = TestRun(
        id=456,
        state=TestRunState.ENDED,
        tests=tests,
        **{**counts, "failed_count_after_snoozing": 1},
    )
    assert may_pass_by_its_failures(run, GatePolicy()) is may_pass
