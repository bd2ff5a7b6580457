"""Reading answers that the local Empirical does not give: every shape the record tells of."""

from __future__ import annotations

from typing import Any

import pytest

from empirical_provider import TestRunRequest, TestRunState, endpoints, project_endpoints
from empirical_provider.answers import Refused, Unreadable

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
    ],
    ids=["nested", "flat"],
)
def test_the_detail_is_read_in_either_shape(shape: dict[str, Any]) -> None:
    """The run may stand one level deeper than documented, and both are read."""
    run = endpoints.get_test_run(456).read({"data": shape})
    assert (run.id, run.project_slug) == (456, "acme")


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


@pytest.mark.parametrize("rows", [None, "x", [None, 5, {"name": "no status"}]])
def test_strange_rows_of_tests_are_passed_over(rows: Any) -> None:
    """The tests one by one are a help for people; what cannot be read of them is left out."""
    answer = {"data": {"test_run": {"testRun": RUN, "flattenedSummaryDetails": rows}}}
    assert endpoints.get_test_run(456).read(answer).tests == ()


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
    ],
)
def test_counts_that_cannot_be_are_not_believed(
    counts: dict[str, Any], tests: Any, words: str
) -> None:
    """A run that would be green by numbers that no run can have is no answer."""
    with pytest.raises(Unreadable, match="it ended, but") as error:
        detail(tests, **counts)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("counts", "tests"),
    [
        ({"skipped_count": 9}, None),
        ({"success_count": 5, "flaky_count": 5}, None),
        ({"success_count": 5, "failed_count": 5}, None),
        ({"success_count": None, "flaky_count": None, "skipped_count": None}, None),
        ({"total_count": None, "success_count": 48}, None),
        ({"failed_count": 1}, [FAILED]),
        ({}, [{**FAILED, "snooze_info": [{"snooze_id": 1}]}]),
        ({"failed_count_after_snoozing": 6, "failed_count": 6}, None),
        ({"state": "started", "failed_count": -1}, None),
    ],
    ids=[
        *("skipped ones come on top", "flaky ones passed", "snoozed ones passed", "not told"),
        *("no total", "a snooze that is gone", "a snooze that is new", "red", "not ended"),
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
