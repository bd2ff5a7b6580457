"""A run can be repeated by its own endpoint or by a trigger, and both do the same."""

from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator

REQUEST = {
    "environment": "staging",
    "build": {"branch": "b", "commit": "c0ffee"},
    "environment_variables_overrides": [{"name": "A", "value": "b"}],
}
FORMS = ("endpoint", "trigger")


def _message(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def _rerun(http: httpx.Client, form: str, source: int, *, only_failed: bool) -> httpx.Response:
    """Repeat a run of `REQUEST` in one of the two forms."""
    if form == "endpoint":
        return http.post(f"/api/test-runs/{source}/re-run", json={"only_failed": only_failed})
    fields = {"rerun_source_id": source, "rerun_only_failed": only_failed}
    return http.put("/api/test-runs", json={**REQUEST, **fields})


def test_rerun_repeats_the_source(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """A re-run links back and takes over environment, branch, build and overrides."""
    overrides = [{"name": "A", "value": "b"}]
    source = api.trigger(build={"branch": "b"}, environment_variables_overrides=overrides)
    assert "still queued" in _message(http.post(f"/api/test-runs/{source}/re-run"), 409)
    api.finish(source)
    answer = http.post(f"/api/test-runs/{source}/re-run", json={"send_notifications": False})
    run = api.finish(answer.json()["data"]["test_run"]["id"])["testRun"]
    assert (run["rerun_source_id"], run["rerun_only_failed"]) == (source, False)
    assert (run["test_run_branch"], run["environment_slug"]) == ("b", "staging")
    assert run["environment_variables_overrides"] == overrides
    assert run["total_count"] == 5
    assert empirical.runs[-1].body == {"send_notifications": False}


@pytest.mark.parametrize("by_trigger", [False, True])
def test_rerun_of_failed_tests_runs_only_these(
    api: Any, http: httpx.Client, empirical: Emulator, by_trigger: bool
) -> None:
    """With only_failed the new run has the failed tests of its source and no others."""
    empirical.script("staging", "failed", total=10, failed=8)
    source = api.trigger()
    failed = {
        row["pw_test_id"]
        for row in api.finish(source)["flattenedSummaryDetails"]
        if row["status"] == "failed"
    }
    empirical.script("staging", "passed")
    if by_trigger:
        new = api.trigger(rerun_source_id=source, rerun_only_failed=True)
    else:
        path = f"/api/test-runs/{source}/re-run"
        new = http.post(path, json={"only_failed": True}).json()["data"]["test_run"]["id"]
    found = api.finish(new)
    assert {row["pw_test_id"] for row in found["flattenedSummaryDetails"]} == failed
    assert found["testRun"]["rerun_only_failed"] is True
    assert found["testRun"]["failed_count"] == 0
    assert found["testRun"]["total_count"] == 8
    answer = http.post(f"/api/test-runs/{new}/re-run", json={"only_failed": True})
    assert "no failed tests" in _message(answer, 422)


@pytest.mark.parametrize("only_failed", [False, True])
def test_both_forms_of_a_rerun_show_the_same(
    api: Any, http: httpx.Client, empirical: Emulator, only_failed: bool
) -> None:
    """But for its id and times, a run is the same in lists and details whichever form made it."""
    empirical.script("staging", "failed", total=4, failed=2)
    source = api.trigger(**REQUEST)
    api.finish(source)
    shown = []
    for form in FORMS:
        answer = _rerun(http, form, source, only_failed=only_failed)
        run_id = answer.json()["data"]["test_run"]["id"]
        found = api.finish(run_id)
        items = http.get("/api/test-runs", params={"id": run_id}).json()["data"]["test_runs"]
        for row in (found["testRun"], items["items"][0]):
            assert (row["rerun_source_id"], row["rerun_only_failed"]) == (source, only_failed)
            for own in ("id", "run_id", "created_at", "run_started_at", "duration"):
                row.pop(own, None)
        shown.append((found, items["items"]))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_refuse_a_source_that_is_not_at_rest(
    api: Any, http: httpx.Client, empirical: Emulator, form: str
) -> None:
    """A run that is still going cannot be repeated, and no run is made."""
    source = api.trigger(**REQUEST)
    assert "still queued" in _message(_rerun(http, form, source, only_failed=False), 409)
    assert len(empirical.runs) == 1


@pytest.mark.parametrize(
    ("form", "field"), [("endpoint", "only_failed"), ("trigger", "rerun_only_failed")]
)
def test_both_forms_refuse_a_source_without_failures(
    api: Any, http: httpx.Client, form: str, field: str
) -> None:
    """Only what failed can be repeated only if something did; the field is named as it was sent."""
    source = api.trigger(**REQUEST)
    api.finish(source)
    message = _message(_rerun(http, form, source, only_failed=True), 422)
    assert message == f"{field}: test run {source} has no failed tests"


def test_a_trigger_that_repeats_a_run_takes_no_request_over(api: Any, http: httpx.Client) -> None:
    """What such a trigger does not say is not said; the endpoint takes it from the source."""
    source = api.trigger(**REQUEST)
    api.finish(source)
    bare = api.detail(api.trigger(rerun_source_id=source))["testRun"]
    assert (bare["test_run_branch"], bare["environment_variables_overrides"]) == ("main", [])
    answer = _rerun(http, "endpoint", source, only_failed=False).json()["data"]["test_run"]
    assert answer["test_run_branch"] == "b"


def test_a_rerun_takes_no_metadata_over(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """The endpoint has no metadata to give; a trigger that repeats a run has its own."""
    empirical.behave(echo_in_detail=["metadata"])
    source = api.trigger(metadata={"release": "1"})
    api.finish(source)
    by_endpoint = http.post(f"/api/test-runs/{source}/re-run").json()["data"]["test_run"]["id"]
    by_trigger = api.trigger(rerun_source_id=source, metadata={"release": "2"})
    assert api.detail(by_endpoint)["testRun"]["metadata"] == {}
    assert api.detail(by_trigger)["testRun"]["metadata"] == {"release": "2"}
