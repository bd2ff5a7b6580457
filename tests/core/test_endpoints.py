"""Reading answers that the local Empirical does not give: every shape the record tells of."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from empirical_provider import (
    GatePolicy,
    Outcome,
    TestRunRequest,
    TestRunState,
    UnreadableAnswerError,
    endpoints,
    project_endpoints,
)
from empirical_provider.answers import Refused, Unreadable
from empirical_provider.outcomes import result_of
from empirical_provider.receiving import Answer
from empirical_provider.verdict import judge
from tests.core.simulation import SETTINGS

RUNS = ("test_run", "testRun")

RUN = {"id": 456, "state": "queued", "test_run_branch": "main", "created_at": "2026-11-23T00:00Z"}
TRIGGER = endpoints.trigger(TestRunRequest(environment="staging"))


def triggered(**data: Any) -> dict[str, Any]:
    return {"data": {"trigger": {"success": True}, "test_run": RUN, **data}}


def test_a_trigger_answer_without_success_is_believed_if_it_names_a_run() -> None:
    """A run that is named exists; losing its id would be worse than a missing flag."""
    assert TRIGGER.read({"data": {"test_run": RUN}}).id == 456


@pytest.mark.parametrize("success", [False, None, "true", 0, 1])
def test_only_true_is_success(success: object) -> None:
    """Anything but true in `success` means that the run was not started."""
    with pytest.raises(Refused):
        TRIGGER.read(triggered(trigger={"success": success}))


def test_a_refusal_without_a_run_is_still_a_refusal() -> None:
    """The service may say no without naming a run."""
    with pytest.raises(Refused) as refusal:
        TRIGGER.read({"data": {"trigger": {"success": False}}})
    assert refusal.value.run is None


def test_a_run_that_starts_in_error_is_refused() -> None:
    """State `error` in the trigger's answer means that there will be no result."""
    with pytest.raises(Refused, match="already in state error"):
        TRIGGER.read(triggered(test_run={**RUN, "state": "error"}))


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"data": None},
        {"data": {"trigger": {"success": True}}},
        triggered(test_run={**RUN, "id": "456"}),
        triggered(test_run={**RUN, "id": 0}),
        triggered(test_run={**RUN, "id": True}),
        triggered(test_run={**RUN, "id": None}),
        triggered(test_run=[RUN]),
    ],
)
def test_a_trigger_answer_without_an_id_is_unreadable(bad: Any) -> None:
    """Without a positive integer as id there is no run to speak of."""
    with pytest.raises(Unreadable):
        TRIGGER.read(bad)


def test_an_unknown_state_is_kept() -> None:
    """A state that nobody documented is data, is not terminal, and equals its text."""
    run = TRIGGER.read(triggered(test_run={**RUN, "state": "hibernating"}))
    assert run.state == "hibernating"
    assert (run.state.is_known, run.state.is_terminal) == (False, False)
    assert TestRunState("hibernating") == run.state


@pytest.mark.parametrize(
    "shape",
    [
        {"test_run": {"testRun": RUN, "project": {"slug": "acme"}}},
        {"test_run": {**RUN, "project": {"slug": "acme"}}},
        {"test_run": {"test_run": RUN, "project": {"slug": "acme"}}},
        {"test_run": {"test_run": {**RUN, "project": {"slug": "acme"}}}},
        {"testRun": {**RUN, "project": {"slug": "acme"}}},
        {"testRun": {"testRun": RUN}, "project": {"slug": "acme"}},
        {"test_run": {"testRun": RUN}, "testRun": None, "project": {"slug": "acme"}},
        {**RUN, "project": {"slug": "acme"}},
    ],
)
@pytest.mark.parametrize("tests", ["flattenedSummaryDetails", "flattened_summary_details"])
@pytest.mark.parametrize("level", [0, 1, -1])
def test_the_detail_is_read_in_every_shape(shape: dict[str, Any], tests: str, level: int) -> None:
    """The run is `testRun`, `test_run` or bare, one level deeper or not, and its list of tests is
    named in either way and stands beside it, in it or around it."""
    answer = copy.deepcopy({"data": shape})
    levels = [answer["data"]]
    while found := [each for name, each in levels[-1].items() if name in RUNS and each]:
        levels += found
    holder = levels[min(level, len(levels) - 1)]
    holder[tests] = [{"status": "failed", "nesting": ["cart.spec.ts", "pays"]}]
    run = endpoints.get_test_run(456).read(answer)
    assert (run.id, run.state, run.branch, run.project_slug) == (456, "queued", "main", "acme")
    assert [(test.name, test.status) for test in run.tests] == [("cart.spec.ts > pays", "failed")]


@pytest.mark.parametrize("bare", [RUN, {"test_run": RUN}, {"testRun": RUN}])
def test_the_detail_is_read_without_its_envelope(bare: dict[str, Any]) -> None:
    """Some endpoints answer without `data`; a run that stands there alone is read as well."""
    assert endpoints.get_test_run(456).read(bare).id == 456


def test_two_runs_in_one_detail_are_none() -> None:
    """Nobody knows which of them was asked for."""
    with pytest.raises(Unreadable, match="both test_run and testRun"):
        endpoints.get_test_run(456).read({"data": {"test_run": RUN, "testRun": RUN}})


def test_a_detail_of_another_run_is_refused() -> None:
    """An answer about another run than the one asked for is no answer."""
    with pytest.raises(Unreadable, match="test run 456 instead of 7"):
        endpoints.get_test_run(7).read({"data": {"test_run": RUN}})


def test_list_items_may_lack_almost_everything() -> None:
    """A list item needs an id; a missing state becomes an unknown one."""
    page = endpoints.list_test_runs(1, per_page=20).read(
        {"data": {"test_runs": {"items": [{"id": 5}]}}, "pagination": {"total_pages": 3}}
    )
    assert [run.state for run in page.runs] == ["unknown"]
    assert page.more


def test_a_list_without_pagination_goes_on_while_pages_are_full() -> None:
    """The oldest shape of the list has no total at the top; a short page is the last."""
    call = endpoints.list_test_runs(1, per_page=1)
    assert call.read({"data": {"test_runs": {"items": [{"id": 5}]}}}).more
    assert not call.read({"data": {"test_runs": {"items": []}}}).more


def test_a_count_that_is_no_integer_is_unknown() -> None:
    """A count of the wrong type counts as missing, never as a number."""
    row = {**RUN, "failed_count": "0", "total_count": True, "flaky_count": None}
    run = endpoints.get_test_run(456).read({"data": {"test_run": row}})
    assert (run.failed_count, run.total_count, run.flaky_count) == (None, None, None)


@pytest.mark.parametrize("rows", [None, "x", {}, []])
def test_a_list_of_tests_may_be_missing(rows: Any) -> None:
    """Counts decide where no tests are listed."""
    answer = {"data": {"test_run": {"testRun": RUN, "flattenedSummaryDetails": rows}}}
    assert endpoints.get_test_run(456).read(answer).tests == ()


@pytest.mark.parametrize("row", [None, 5, "passed", {"name": "x"}, {"status": None}, {"status": 1}])
def test_a_row_that_cannot_be_read_is_a_test_of_unknown_status(row: Any) -> None:
    """What nobody can read is no test that has passed."""
    answer = {"data": {"test_run": {"testRun": RUN, "flattenedSummaryDetails": [row]}}}
    (test,) = endpoints.get_test_run(456).read(answer).tests
    assert (test.status, test.kind) == ("unknown", "")


COUNTED = {
    "id": 456,
    "state": "ended",
    "total_count": 5,
    "success_count": 5,
    "failed_count": 0,
    "failed_count_after_snoozing": 0,
    "skipped_count": 0,
    "flaky_count": 0,
}
FAILED = {"status": "failed", "name": "pays"}


def detail(tests: Any = None, **counts: Any) -> Any:
    run = {"testRun": {**COUNTED, **counts}, "flattenedSummaryDetails": tests}
    return endpoints.get_test_run(456).read({"data": {"test_run": run}})


@pytest.mark.parametrize(
    ("counts", "tests", "words"),
    [
        ({"failed_count_after_snoozing": -1}, None, "failed_count_after_snoozing is no number of"),
        ({"failed_count": -3}, None, "failed_count is no number of tests"),
        ({"total_count": -1}, None, "total_count is no number of tests"),
        ({"skipped_count": -1}, None, "skipped_count is no number of tests"),
        ({"failed_count_after_snoozing": "3"}, None, "failed_count_after_snoozing is no number of"),
        ({"failed_count_after_snoozing": 0.5}, None, "failed_count_after_snoozing is no number of"),
        ({"failed_count_after_snoozing": True}, None, "failed_count_after_snoozing is no number"),
        ({"failed_count_after_snoozing": [3]}, None, "failed_count_after_snoozing is no number of"),
        ({"total_count": 10**400}, None, "total_count is no number of tests"),
        ({"total_count": 2**53}, None, "total_count is no number of tests"),
        ({"failed_count": 6}, None, "its failed_count (6) is above its total_count (5)"),
        ({"success_count": 6}, None, "its success_count (6) is above its total_count (5)"),
        ({"flaky_count": 6}, None, "its flaky_count (6) is above its total_count (5)"),
        ({"failed_count_after_snoozing": 1}, None, "(1) is above its failed_count (0)"),
        ({}, [FAILED, FAILED], "its failed_count is 0, and it lists 2 that failed"),
        ({}, [{"status": "Failed"}], "its failed_count is 0, and it lists 1 that failed"),
        (
            {"failed_count": 5},
            [FAILED] * 5,
            "its failed_count_after_snoozing is 0, and it lists 5 that failed and are not snoozed",
        ),
        (
            {"failed_count": 2},
            [FAILED, {**FAILED, "snooze_info": [{"snooze_id": 1}]}],
            "its failed_count_after_snoozing is 0, and it lists 1 that failed and are not snoozed",
        ),
    ],
)
def test_counts_that_cannot_be_are_not_believed(
    counts: dict[str, Any], tests: Any, words: str
) -> None:
    """A run that would be green by numbers that no run can have is no answer. The run travels with
    the error, as far as it could be read, and no policy opens a gate on it."""
    with pytest.raises(Unreadable, match="it ended, but") as error:
        detail(tests, **counts)
    assert words in str(error.value)
    run = error.value.run
    assert run is not None
    assert (run.id, run.state) == (456, "ended")
    assert words in (run.inconsistency or "")
    lenient = GatePolicy.of({str(each): "pass" for each in Outcome})
    for policy in (GatePolicy(), lenient):
        verdict = judge(run, policy)
        assert (verdict.outcome, verdict.decision) == ("error", "fail")
        assert words in verdict.summary


@pytest.mark.parametrize("slug", [None, "acme"])
def test_an_error_about_a_finished_run_holds_what_was_read(slug: str | None) -> None:
    """The client's error has the run with its page, survives pickling, and holds no run where the
    state is not final or the answer is about another one."""
    call = endpoints.get_test_run(456)

    def error_of(**changes: Any) -> Any:
        run = {**COUNTED, "success_count": 6, **changes, "project": {"slug": slug}}
        body = json.dumps({"data": {"test_run": run}}).encode()
        with pytest.raises(UnreadableAnswerError) as caught:
            result_of(SETTINGS, call, Answer(200, {}, body))
        return pickle.loads(pickle.dumps(caught.value))

    run = error_of().run
    assert (run.id, run.state, run.success_count) == (456, "ended", 6)
    assert (run.url or "").endswith("/acme/test-runs/456" if slug else "")
    assert (run.url is None) is (slug is None)
    assert error_of(id=457).run is None
    assert UnreadableAnswerError("x").run is None


@pytest.mark.parametrize(
    ("counts", "tests"),
    [
        ({"skipped_count": 9}, None),
        ({"success_count": 5, "flaky_count": 5}, None),
        ({"success_count": 5, "failed_count": 5}, None),
        ({"success_count": None, "flaky_count": None, "skipped_count": None}, None),
        ({"total_count": None, "success_count": 48}, None),
        ({}, [{**FAILED, "snooze_info": [{"snooze_id": 1}]}]),
        ({"failed_count_after_snoozing": 6, "failed_count": 6}, None),
        ({"state": "started", "failed_count": -1}, None),
    ],
    ids=[
        *("skipped ones come on top", "flaky ones passed", "snoozed ones passed", "not told"),
        *("no total", "a snooze that is new", "red", "not ended"),
    ],
)
def test_counts_that_may_be_are_believed(counts: dict[str, Any], tests: Any) -> None:
    """What some reading of the documentation allows is read, and so is a run that is red by all it
    tells, or has not ended."""
    assert detail(tests, **counts).id == 456


def test_a_run_is_not_its_own_repetition() -> None:
    """The answer to a re-run must name another run: the verdict would be on the old one."""
    with pytest.raises(Unreadable, match="the run that was to be repeated"):
        endpoints.rerun_test_run(456).read(triggered())
    assert endpoints.rerun_test_run(455).read(triggered()).id == 456


def test_another_project_is_refused() -> None:
    """A project that tells its id must be the one asked for; the id need not be told."""
    call = project_endpoints.get_project(7)
    assert call.read({"data": {"slug": "acme"}}).slug == "acme"
    with pytest.raises(Unreadable, match="project 8 instead of 7"):
        call.read({"data": {"slug": "acme", "id": 8}})


def test_a_number_that_is_not_exact_is_none() -> None:
    """Beyond 53 bits a number is neither an id nor anything else that could be stored."""
    with pytest.raises(Unreadable, match="is no positive integer"):
        TRIGGER.read(triggered(test_run={**RUN, "id": 2**53}))
    run = TRIGGER.read(triggered(test_run={**RUN, "id": 2**53 - 1, "duration": 10**400}))
    assert (run.id, run.duration) == (2**53 - 1, None)


def test_metadata_are_flat() -> None:
    """What is nested in metadata is left out, but its name: there may be no end to it."""
    given = {"by": "me", "n": 1, "deep": [[1]], "none": None}
    run = TRIGGER.read(triggered(test_run={**RUN, "metadata": given}))
    assert run.metadata == {"by": "me", "n": 1, "deep": None, "none": None}
