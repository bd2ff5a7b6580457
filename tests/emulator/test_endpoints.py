"""Each endpoint answers in the shapes and with the refusals of the API."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


def _message(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def test_trigger_answers_with_the_new_run(http: httpx.Client) -> None:
    """A trigger answers success, the run, its project and the branch that it resolved."""
    answer = http.put("/api/test-runs", json={"environment": "staging", "branch": "feature"})
    data = answer.json()["data"]
    created = data["test_run"].pop("created_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)
    assert data == {
        "trigger": {"success": True},
        "test_run": {
            "id": 1,
            "state": "queued",
            "test_run_branch": "feature",
            "project_id": 7,
            "test_code": {"resolved": {"branch": "feature", "fallback_reason": None}},
        },
    }


def test_trigger_accepts_every_known_field(http: httpx.Client) -> None:
    """No documented field of a trigger is refused."""
    body = {
        "environment": "staging",
        "build": {"url": "https://a.example", "branch": "b", "commit": "c", "version": "1"},
        "metadata": {"deployed_by": "alice", "attempt": 2, "share": 0.5},
        "environment_variables_overrides": [{"name": "TOKEN", "value": ""}],
        "tags": ["@smoke"],
        "project_id": 7,
        "send_notifications": False,
        "total_shards": 2,
        "github_actor": "alice",
        "concurrency": None,
    }
    answer = http.put("/api/test-runs", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["test_run"]["test_run_branch"] == "b"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "environment"),
        ({"environment": ""}, "environment"),
        ({"environment": 5}, "environment"),
        ({"environment": None}, "environment"),
        ({"environment": "staging", "enviroment": "x"}, "enviroment"),
        ({"environment": "staging", "build": {}, "branch": "b"}, "branch"),
        ({"environment": "staging", "build": {"sha": "c"}}, "build.sha"),
        ({"environment": "staging", "build": "x"}, "build"),
        ({"environment": "staging", "metadata": {"a": {"b": 1}}}, "metadata.a"),
        ({"environment": "staging", "metadata": {"a": True}}, "metadata.a"),
        ({"environment": "staging", "metadata": [1]}, "metadata"),
        (
            {"environment": "staging", "environment_variables_overrides": {"A": "b"}},
            "environment_variables_overrides",
        ),
        (
            {"environment": "staging", "environment_variables_overrides": [{"name": "A"}]},
            "environment_variables_overrides[0].value",
        ),
        ({"environment": "staging", "tags": "@smoke"}, "tags"),
        ({"environment": "staging", "tags": [1]}, "tags[0]"),
        ({"environment": "staging", "total_shards": 0}, "total_shards"),
        ({"environment": "staging", "total_shards": True}, "total_shards"),
        ({"environment": "staging", "send_notifications": "no"}, "send_notifications"),
        ({"environment": "staging", "rerun_only_failed": True}, "rerun_only_failed"),
        ({"environment": "staging", "rerun_source_id": 99}, "rerun_source_id"),
        ({"environment": "staging", "concurrency": {"group": "g"}}, "concurrency.on_conflict"),
        (
            {"environment": "staging", "concurrency": {"group": "", "on_conflict": "wait"}},
            "concurrency.group",
        ),
        (
            {"environment": "staging", "concurrency": {"group": "g" * 513, "on_conflict": "wait"}},
            "concurrency.group",
        ),
        (
            {"environment": "staging", "concurrency": {"group": "g", "on_conflict": "fail"}},
            "concurrency.on_conflict",
        ),
        (["staging"], "must be an object"),
    ],
)
def test_trigger_refuses_wrong_bodies_and_names_the_field(
    http: httpx.Client, empirical: Emulator, body: Any, field: str
) -> None:
    """A wrong body is answered with 422 and the name of the field, and makes no run."""
    assert _message(http.put("/api/test-runs", json=body), 422).startswith(field)
    assert empirical.runs == []


@pytest.mark.parametrize("raw", ["{", "NaN", '{"metadata": {"a": 1e999}}', '"\\ud800"', "[" * 9999])
def test_what_is_no_json_is_refused(http: httpx.Client, raw: str) -> None:
    """Broken JSON, and what only Python takes for JSON, is answered with 422."""
    assert "not JSON" in _message(http.put("/api/test-runs", content=raw), 422)


def test_an_unknown_environment_is_refused_with_the_known_ones(
    http: httpx.Client, empirical: Emulator
) -> None:
    """The refusal of an unknown environment lists the slugs that exist."""
    message = _message(http.put("/api/test-runs", json={"environment": "prod"}), 400)
    assert "prod" in message
    assert "production, staging" in message
    assert empirical.runs == []


def test_another_project_in_the_body_is_refused(http: httpx.Client) -> None:
    """A project_id in the body must be that of the request."""
    body = {"environment": "staging", "project_id": 8}
    assert "project_id" in _message(http.put("/api/test-runs", json=body), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/test-runs"),
        ("GET", "/api/test-runs"),
        ("GET", "/api/test-runs/1"),
        ("POST", "/api/test-runs/1/re-run"),
        ("POST", "/api/test-runs/1/cancel"),
        ("GET", "/api/environments/list"),
        ("GET", "/api/projects/7"),
    ],
)
@pytest.mark.parametrize("value", ["", "Bearer", "Basic made-up-key", "made-up-key"])
def test_every_endpoint_wants_a_bearer_key(
    http: httpx.Client, method: str, path: str, value: str
) -> None:
    """Without a bearer key every endpoint answers 401."""
    answer = http.request(method, path, headers={"authorization": value})
    assert "API key" in _message(answer, 401)


@pytest.mark.parametrize(("project", "status"), [("7", 200), ("8", 403), ("x", 422)])
def test_the_project_header_must_name_the_project(
    http: httpx.Client, project: str, status: int
) -> None:
    """A wrong x-project-id is refused, the right one is not."""
    answer = http.get("/api/test-runs", headers={"x-project-id": project})
    assert answer.status_code == status


def test_detail_has_the_nesting_of_the_api(api: Any) -> None:
    """The detail holds testRun, project and one row for each test."""
    run_id = api.trigger(
        environment_variables_overrides=[{"name": "A", "value": "b"}],
        build={"url": "https://a.example", "commit": "c0ffee"},
    )
    found = api.finish(run_id)
    assert found["project"] == {"id": 7, "name": "Acme", "slug": "acme", "repo_name": "acme-tests"}
    run = found["testRun"]
    assert isinstance(run["run_id"], int)
    assert run["run_id"] != run_id
    assert run["test_case_ids"] == []
    assert run["environment_id"] == 2
    assert run["commit"] == "c0ffee"
    assert run["build_url"] == "https://a.example"
    assert run["environment_variables_overrides"] == [{"name": "A", "value": "b"}]
    row = found["flattenedSummaryDetails"][0]
    assert re.fullmatch(r"[a-f0-9]{20}-[a-f0-9]{20}", row["pw_test_id"])
    assert row["nesting"] == ["checkout.spec.ts", row["name"]]
    assert row["slug"] == "shows-the-page-to-a-signed-in-user"
    assert (row["status"], row["test_project"]) == ("passed", "chromium")


@pytest.mark.parametrize("run_id", ["1", "0", "x", "-1", "9" * 5000])
@pytest.mark.parametrize(
    ("method", "tail"), [("GET", ""), ("POST", "/re-run"), ("POST", "/cancel")]
)
def test_an_unknown_run_is_not_found(
    http: httpx.Client, method: str, run_id: str, tail: str
) -> None:
    """Every endpoint for one run answers 404 when there is no such run."""
    answer = http.request(method, f"/api/test-runs/{run_id}{tail}")
    assert "not found" in _message(answer, 404)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/nothing"), ("POST", "/api/test-runs")])
def test_an_unknown_endpoint_answers_in_json(http: httpx.Client, method: str, path: str) -> None:
    """Below /api/ even an address that leads nowhere is refused in the API's form."""
    assert "no such endpoint" in http.request(method, path).json()["error"]["message"]


def test_environments_are_listed(http: httpx.Client) -> None:
    """The environments come with ids, slugs and one default."""
    rows = http.get("/api/environments/list").json()["data"]["environments"]
    assert [(row["id"], row["slug"], row["is_default"]) for row in rows] == [
        (1, "production", True),
        (2, "staging", False),
    ]


def test_the_project_is_found_by_its_id_only(http: httpx.Client) -> None:
    """A project answers its slug; any other is not found."""
    assert http.get("/api/projects/7").json()["data"]["slug"] == "acme"
    assert "Project 8" in _message(http.get("/api/projects/8"), 404)


def test_list_shows_runs_newest_first_in_pages(api: Any, http: httpx.Client) -> None:
    """The list has its pages beside the data and the project inside."""
    for _ in range(3):
        api.trigger()
    answer = http.get("/api/test-runs", params={"page": 2, "per_page": 2}).json()
    assert answer["pagination"] == {"page": 2, "per_page": 2, "total": 3, "total_pages": 2}
    assert answer["data"]["project"]["slug"] == "acme"
    assert [item["id"] for item in answer["data"]["test_runs"]["items"]] == [1]
    assert api.listed() == [3, 2, 1]
    assert api.listed(page=9) == []


def test_list_filters(api: Any, empirical: Emulator) -> None:
    """Each filter keeps the runs that it names and no others."""
    empirical.script("production", "failed")
    staging = api.trigger("staging", branch="feature")
    production = api.trigger("production")
    for run_id in (staging, production):
        api.finish(run_id)
    queued = api.trigger("staging")
    assert api.listed(state="queued") == [queued]
    assert api.listed(id=staging) == [staging]
    assert api.listed(branch="feature") == [staging]
    assert api.listed(result="passed") == [staging]
    assert api.listed(result="failed") == [production]
    assert api.listed(environment_ids="1") == [production]
    assert api.listed(environment_ids="1,2", per_page=100) == [queued, production, staging]


def test_list_filters_by_age(
    timed: Emulator, clock: Any, api_for: Callable[[Emulator], Any]
) -> None:
    """A run leaves the interval when it is older than its days."""
    api = api_for(timed)
    run_id = api.trigger()
    assert api.listed(interval_in_days=1) == [run_id]
    clock.now += 86_401
    assert api.listed(interval_in_days=1) == []
    assert api.listed(interval_in_days=2) == [run_id]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "0"),
        ("page", "x"),
        ("per_page", "101"),
        ("id", "-1"),
        ("interval_in_days", "0"),
        ("state", "done"),
        ("result", "flaky"),
        ("environment_ids", "1,x"),
    ],
)
def test_list_refuses_wrong_filters(http: httpx.Client, name: str, value: str) -> None:
    """A filter out of its range is answered with 422 and its name."""
    assert _message(http.get("/api/test-runs", params={name: value}), 422).startswith(name)


def test_cancel_goes_through_cancelling(api: Any, http: httpx.Client, empirical: Emulator) -> None:
    """A cancelled run shows cancelling before cancelled and keeps the reason."""
    run_id = api.trigger()
    answer = http.post(f"/api/test-runs/{run_id}/cancel", json={"reason": "not needed"})
    assert answer.status_code == 200
    assert list(answer.json()) == ["message"]
    assert [api.state(run_id) for _ in range(2)] == ["cancelling", "cancelled"]
    assert empirical.runs[0].cancel_reason == "not needed"
    assert "already cancelled" in _message(http.post(f"/api/test-runs/{run_id}/cancel"), 412)


def test_cancel_refuses_wrong_bodies(api: Any, http: httpx.Client) -> None:
    """A body of a cancel is checked like any other."""
    run_id = api.trigger()
    answer = http.post(f"/api/test-runs/{run_id}/cancel", json={"reason": 5})
    assert _message(answer, 422).startswith("reason")


def test_unknown_test_ids_are_ignored(api: Any) -> None:
    """Known test ids run, unknown ones are passed over and still echoed."""
    rows = api.finish(api.trigger())["flattenedSummaryDetails"]
    known = rows[2]["pw_test_id"]
    found = api.finish(api.trigger(test_case_ids=[known, "x"]))
    assert [row["pw_test_id"] for row in found["flattenedSummaryDetails"]] == [known]
    assert found["testRun"]["test_case_ids"] == [known, "x"]
    assert found["testRun"]["total_count"] == 1


def test_each_listed_test_can_be_run_by_its_id(api: Any, http: httpx.Client) -> None:
    """All tests of the project run where they are asked for, also those beyond a script's total."""
    listed = http.get("/api/v2/test-cases", params={"per_page": 100}).json()["data"]["test_cases"]
    for case in listed:
        found = api.finish(api.trigger(test_case_ids=[case["id"]]))
        assert [row["pw_test_id"] for row in found["flattenedSummaryDetails"]] == [case["id"]]
        assert found["testRun"]["state"] == "ended"


def test_tags_are_listed_without_their_sign(http: httpx.Client) -> None:
    """The list has "smoke", and is asked for "smoke": the trigger takes "@smoke"."""
    for tag, count in (("smoke", 8), ("@smoke", 0)):
        answer = http.get("/api/v2/test-cases", params={"tags": tag, "per_page": 100}).json()
        assert len(answer["data"]["test_cases"]) == count
        assert all("smoke" in case["tags"] for case in answer["data"]["test_cases"])


def test_the_cases_of_a_run_are_paged(api: Any, http: httpx.Client) -> None:
    """All tests of a run, skipped ones too, in pages of up to 200; none until it has ended."""
    run_id = api.trigger()
    answer = http.get(f"/api/v2/test-runs/{run_id}/cases")
    assert answer.json()["data"] == []
    rows = api.finish(run_id)["flattenedSummaryDetails"]
    shown = http.get(f"/api/v2/test-runs/{run_id}/cases", params={"per_page": 200}).json()
    assert shown["data"] == rows
    second = http.get(f"/api/v2/test-runs/{run_id}/cases", params={"per_page": 2, "page": 2}).json()
    assert second["data"] == rows[2:4]
    assert second["pagination"] == {"page": 2, "per_page": 2, "total": 5, "total_pages": 3}
    for run, query, status in ((run_id, {"per_page": 201}, 422), (999, {}, 404)):
        answer = http.get(f"/api/v2/test-runs/{run}/cases", params=query)
        assert answer.status_code == status


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v2/nothing", "/api/test-runs/1/nothing"])
def test_a_path_that_is_none_asks_for_the_key_first(path: str, http: httpx.Client) -> None:
    """Whoever has no good key does not learn which endpoints there are."""
    assert http.get(path, headers={"Authorization": ""}).status_code == 401
    assert http.get(path).status_code == 404


def test_only_unknown_test_ids_end_in_an_error(api: Any) -> None:
    """A run of nothing but unknown test ids ends as an error without tests."""
    run = api.finish(api.trigger(test_case_ids=["x"]))["testRun"]
    assert (run["state"], run["total_count"]) == ("error", 0)
    assert run["error_code"]
