"""Reading answers that the local Empirical does not give: every shape the record tells of."""

from __future__ import annotations

from typing import Any

import pytest

from empirical_provider import TestRunRequest, TestRunState, endpoints
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
