"""Runs move through their states and end as they are scripted."""

import functools
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator

CODE = "merge_conflict"
COUNTS = (
    "total_count",
    "success_count",
    "failed_count",
    "failed_count_after_snoozing",
    "flaky_count",
    "skipped_count",
)


@pytest.mark.parametrize(
    ("script", "state", "expected"),
    [
        (("passed", {}), "ended", (5, 5, 0, 0, 0, 0)),
        (("passed", {"total": 3, "skipped": 2, "flaky": 1}), "ended", (3, 2, 0, 0, 1, 2)),
        (("failed", {}), "ended", (5, 4, 1, 1, 0, 0)),
        (("failed", {"total": 10, "failed": 3, "snoozed": 1}), "ended", (10, 7, 3, 2, 0, 0)),
        (("failed", {"failed": 20}), "ended", (20, 0, 20, 20, 0, 0)),
        (("snoozed", {}), "ended", (5, 4, 1, 0, 0, 0)),
        (("snoozed", {"failed": 2}), "ended", (5, 3, 2, 0, 0, 0)),
        (("flaky", {}), "ended", (5, 4, 0, 0, 1, 0)),
        (("incomplete", {}), "ended", (5, 4, 0, 0, 0, 0)),
        (("incomplete", {"total": 48, "missing": 38}), "ended", (48, 10, 0, 0, 0, 0)),
        (("incomplete", {"interrupted": 2, "skipped": 1}), "ended", (5, 3, 0, 0, 0, 1)),
        (("incomplete", {"failed": 1, "snoozed": 1}), "ended", (5, 3, 1, 0, 0, 0)),
        (("failed", {"missing": 2, "interrupted": 1}), "ended", (5, 1, 1, 1, 0, 0)),
        (("no_tests", {}), "ended", (0, 0, 0, 0, 0, 0)),
        (("error", {}), "error", (0, 0, 0, 0, 0, 0)),
        (("cancelled", {}), "cancelled", (0, 0, 0, 0, 0, 0)),
        (("superseded", {}), "cancelled", (0, 0, 0, 0, 0, 0)),
    ],
)
def test_each_outcome_ends_in_its_state_with_its_counts(
    api: Any,
    empirical: Emulator,
    script: tuple[str, dict[str, Any]],
    state: str,
    expected: tuple[int, ...],
) -> None:
    """A scripted run goes queued, started and then to its end with its counts."""
    outcome, counts = script
    empirical.script("staging", outcome, **counts)
    run_id = api.trigger()
    assert [api.state(run_id) for _ in range(2)] == ["queued", "started"]
    run = api.finish(run_id)["testRun"]
    assert run["state"] == state
    assert tuple(run[name] for name in COUNTS) == expected


def test_snoozed_failures_stay_failed_in_the_details(api: Any, empirical: Emulator) -> None:
    """A snoozed failure keeps its status and gains snooze_info."""
    empirical.script("staging", "failed", failed=2, snoozed=1)
    rows = api.finish(api.trigger())["flattenedSummaryDetails"]
    assert [(r["status"], "snooze_info" in r) for r in rows[:3]] == [
        ("failed", True),
        ("failed", False),
        ("passed", False),
    ]


@pytest.mark.parametrize("code", [None, "worker_interrupted"])
def test_an_error_run_says_its_cause(api: Any, empirical: Emulator, code: str | None) -> None:
    """An error carries the scripted code, or the usual one."""
    empirical.script("staging", "error", error_code=code)
    run = api.finish(api.trigger())["testRun"]
    assert run["error_code"] == (code or "run_failed_with_error")


def test_a_superseded_run_names_its_successor(
    api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """A superseded run is cancelled and names a newer one, which only its own page shows."""
    empirical.script("staging", "superseded", runs=1)
    run_id = api.trigger()
    successor = api.finish(run_id)["testRun"]["superseded_by_test_run_id"]
    assert successor > run_id
    shown = api.detail(successor)["testRun"]
    assert (shown["id"], shown["state"], shown["rerun_source_id"]) == (successor, "queued", None)
    assert api.trigger() > successor
    assert successor not in [*api.listed(), *(run.id for run in empirical.runs)]
    empirical.delete_run(successor)
    assert http.get(f"/api/test-runs/{successor}").status_code == 404


def test_interrupted_tests_are_listed_and_missing_ones_are_not(
    api: Any, empirical: Emulator
) -> None:
    """Both are in the total; only the list tells one from the other."""
    empirical.script("staging", "incomplete", total=6, missing=2, interrupted=1, flaky=1)
    found = api.finish(api.trigger())
    assert found["testRun"]["total_count"] == 6
    statuses = [row["status"] for row in found["flattenedSummaryDetails"]]
    assert statuses == ["interrupted", "flaky", "passed", "passed"]


def test_some_of_the_tests_of_an_incomplete_run(api: Any, empirical: Emulator) -> None:
    """A run of some tests lacks only those of them that would be missing anyway."""
    ids = [row["pw_test_id"] for row in api.finish(api.trigger())["flattenedSummaryDetails"]]
    empirical.script("staging", "incomplete", missing=1)
    for wanted, total, success in ((ids[:2], 2, 2), (ids[3:], 2, 1)):
        run = api.finish(api.trigger(test_case_ids=wanted))["testRun"]
        assert (run["total_count"], run["success_count"]) == (total, success)


@pytest.mark.parametrize("result", ["passed", "failed"])
def test_an_incomplete_run_has_neither_result(api: Any, empirical: Emulator, result: str) -> None:
    """Its page says Partial: the list shows it under neither filter."""
    empirical.script("staging", "incomplete")
    api.finish(api.trigger())
    assert api.listed(result=result) == []


@pytest.mark.parametrize(
    ("shape", "path", "tests"),
    [
        ("testRun", ("test_run", "testRun"), ("test_run", "flattenedSummaryDetails")),
        ("test_run", ("test_run", "test_run"), ("test_run", "flattened_summary_details")),
        ("flat", ("test_run",), ("test_run", "flattened_summary_details")),
        ("bare", (), ("flattened_summary_details",)),
    ],
)
def test_the_detail_has_the_shape_that_was_asked_for(  # noqa: PLR0917  # fixtures, by name
    api: Any,
    http: httpx.Client,
    empirical: Emulator,
    shape: str,
    path: tuple[str, ...],
    tests: tuple[str, ...],
) -> None:
    """The run and its tests stand in one of the places where a client may have to look."""
    run_id = api.trigger()
    empirical.set_state(run_id, "ended")
    empirical.behave(detail_shape=shape)
    data = http.get(f"/api/test-runs/{run_id}").json()["data"]
    assert functools.reduce(dict.__getitem__, path, data)["id"] == run_id
    assert len(functools.reduce(dict.__getitem__, tests, data)) == 5


@pytest.mark.parametrize("status", [None, 200, 400, 409, 422, 500])
def test_a_merge_conflict_has_the_status_that_was_asked_for(
    http: httpx.Client, empirical: Emulator, status: int | None
) -> None:
    """As 2xx or not, it names the run, which is in error at once; only a refusal has an error."""
    empirical.script("staging", "rejected", status=status)
    answer = http.put("/api/test-runs", json={"environment": "staging"})
    assert answer.status_code == (status or 200)
    body = answer.json()
    assert body["data"]["trigger"] == {"success": False}
    assert body["data"]["test_run"]["id"] == empirical.runs[0].id
    assert body["data"]["test_run"]["state"] == "error"
    message = body.get("error", {}).get("message")
    assert message == (None if status in {None, 200} else f"Failed to trigger the test run: {CODE}")


def test_a_rejected_trigger_says_so_at_once(http: httpx.Client, empirical: Emulator) -> None:
    """A merge conflict answers 200 without success and with a run that is an error already."""
    empirical.script("staging", "rejected")
    data = http.put("/api/test-runs", json={"environment": "staging"}).json()["data"]
    assert data["trigger"] == {"success": False}
    assert data["test_run"]["state"] == "error"
    assert empirical.runs[0].error_code == "merge_conflict"


@pytest.mark.parametrize(("outcome", "state"), [("stuck", "started"), ("pending", "pending")])
def test_some_runs_never_end(api: Any, empirical: Emulator, outcome: str, state: str) -> None:
    """A stuck run stays started and a pending one pending, however often it is read."""
    empirical.script("staging", outcome)
    run_id = api.trigger()
    assert [api.state(run_id) for _ in range(5)][-1] == state


def test_a_script_for_the_next_runs_comes_before_the_standing_one(
    api: Any, empirical: Emulator
) -> None:
    """Scripts with runs are used up in order, then the standing script is back."""
    empirical.script("staging", "failed")
    empirical.script("staging", "error", runs=1)
    empirical.script("staging", "no_tests", runs=2)
    for _ in range(4):
        api.trigger()
    api.trigger("production")
    outcomes = [run.outcome for run in empirical.runs]
    assert outcomes == ["error", "no_tests", "no_tests", "failed", "passed"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("prod", "passed"), {}, "production, staging"),
        (("staging", "won"), {}, "passed, failed"),
        (("staging", "passed"), {"failed": 1}, "failed"),
        (("staging", "passed"), {"snoozed": 1}, "snoozed"),
        (("staging", "passed"), {"total": 0}, "total"),
        (("staging", "failed"), {"failed": 0}, "failed"),
        (("staging", "failed"), {"failed": 2, "snoozed": 2}, "failed"),
        (("staging", "failed"), {"failed": 1, "snoozed": 2}, "snoozed"),
        (("staging", "failed"), {"total": 2, "failed": 3}, "total"),
        (("staging", "snoozed"), {"failed": 2, "snoozed": 1}, "snoozed"),
        (("staging", "flaky"), {"flaky": 0}, "flaky"),
        (("staging", "error"), {"total": 5}, "total"),
        (("staging", "passed"), {"missing": 1}, "missing"),
        (("staging", "snoozed"), {"interrupted": 1}, "interrupted"),
        (("staging", "incomplete"), {"missing": 0}, "missing"),
        (("staging", "incomplete"), {"failed": 1}, "failed"),
        (("staging", "incomplete"), {"total": 2, "missing": 3}, "total"),
        (("staging", "error"), {"missing": 1}, "missing"),
        (("staging", "error"), {"status": 409}, "status"),
        (("staging", "rejected"), {"status": 302}, "status"),
        (("staging", "rejected"), {"status": 600}, "status"),
        (("staging", "passed"), {"error_code": "x"}, "error_code"),
        (("staging", "passed"), {"runs": 0}, "runs"),
        (("staging", "passed"), {"total": -1}, "total"),
    ],
)
def test_a_script_that_cannot_be_is_refused(
    empirical: Emulator, arguments: tuple[str, str], options: dict[str, Any], message: str
) -> None:
    """A wrong script raises ValueError that names what is wrong or allowed."""
    with pytest.raises(ValueError, match=message):
        empirical.script(*arguments, **options)


def test_time_moves_runs(timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]) -> None:
    """With time as the mover, reads change nothing and seconds do."""
    api = api_for(timed)
    run_id = api.trigger()
    assert [api.state(run_id) for _ in range(3)] == ["queued"] * 3
    clock.now += 2
    assert api.state(run_id) == "started"
    clock.now += 1.9
    assert api.state(run_id) == "started"
    clock.now += 0.1
    run = api.detail(run_id)["testRun"]
    assert (run["state"], run["duration"]) == ("ended", 2.0)


def test_a_long_time_moves_runs_through_all_states(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """Whoever looks only after an hour finds the run ended, with the times it really had."""
    api = api_for(timed)
    run_id = api.trigger()
    clock.now += 3600
    run = api.detail(run_id)["testRun"]
    assert (run["state"], run["duration"]) == ("ended", 2.0)


def test_reading_a_list_moves_the_runs_on_the_page_only(api: Any) -> None:
    """A list shows its runs as they are and then moves those that it showed."""
    first, second = api.trigger(), api.trigger()
    assert api.listed(per_page=1) == [second]
    assert (api.state(first), api.state(second)) == ("queued", "started")


def test_looking_from_behind_the_scenes_moves_nothing(api: Any, empirical: Emulator) -> None:
    """Snapshots are no reads."""
    api.trigger()
    assert [empirical.runs[0].state for _ in range(3)] == ["queued"] * 3


def test_a_forced_state_shows_at_once_and_the_run_goes_on_from_it(
    api: Any, empirical: Emulator
) -> None:
    """What somebody else does to a run is seen by the next read, and life goes on."""
    run_id = api.trigger()
    assert empirical.set_state(run_id, "cancelled").state == "cancelled"
    assert api.state(run_id) == "cancelled"
    empirical.set_state(run_id, "started")
    assert [api.state(run_id) for _ in range(2)] == ["started", "ended"]


def test_a_run_forced_to_end_has_results_even_if_it_never_would_have(
    api: Any, empirical: Emulator
) -> None:
    """A stuck run that is forced to end has passed."""
    empirical.script("staging", "stuck")
    run_id = api.trigger()
    empirical.set_state(run_id, "ended")
    assert api.detail(run_id)["testRun"]["total_count"] == 5


def test_a_deleted_run_is_gone(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """A deleted run is not found any more."""
    run_id = api.trigger()
    empirical.delete_run(run_id)
    assert http.get(f"/api/test-runs/{run_id}").status_code == 404
    with pytest.raises(LookupError, match="not found"):
        empirical.delete_run(run_id)


def test_forcing_refuses_what_does_not_exist(api: Any, empirical: Emulator) -> None:
    """Unknown runs and unknown states are refused by name."""
    with pytest.raises(LookupError, match="99"):
        empirical.set_state(99, "ended")
    with pytest.raises(ValueError, match="pending, queued"):
        empirical.set_state(api.trigger(), "done")


def test_the_same_test_has_the_same_id_everywhere(api: Any) -> None:
    """Test ids depend on the test alone, and no two are equal."""
    first = api.finish(api.trigger("staging"))["flattenedSummaryDetails"]
    second = api.finish(api.trigger("production"))["flattenedSummaryDetails"]
    ids = [row["pw_test_id"] for row in first]
    assert ids == [row["pw_test_id"] for row in second]
    assert len(set(ids)) == 5


def test_many_tests_have_different_names(api: Any, empirical: Emulator) -> None:
    """A large run has no two tests of the same file and title."""
    empirical.script("staging", "passed", total=300)
    rows = api.finish(api.trigger())["flattenedSummaryDetails"]
    assert len({tuple(row["nesting"]) for row in rows}) == 300


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"environments": {"Staging": "passed"}}, "environments"),
        ({"environments": {"staging": "won"}}, "environments.staging"),
        ({"environments": []}, "environments"),
        ({"environments": "staging"}, "environments"),
        ({"api_keys": "key"}, "api_keys"),
        ({"api_keys": [""]}, "api_keys"),
        ({"advance": "never"}, "advance"),
        ({"state_seconds": -1}, "state_seconds"),
        ({"project_slug": "a b"}, "project_slug"),
        ({"project_slug": "api"}, "project_slug"),
        ({"project_id": 0}, "project_id"),
        ({"port": 65_536}, "port"),
    ],
)
def test_a_wrong_set_up_is_refused_by_name(options: dict[str, Any], name: str) -> None:
    """Each wrong argument raises ValueError that begins with its name."""
    with pytest.raises(ValueError, match=rf"^{name}:"):
        Emulator(**options)
