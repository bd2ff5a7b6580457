"""The control plane does over HTTP what the methods do in Python."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


@pytest.fixture
def plane(empirical: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{empirical.url}/_emulator", trust_env=False) as client:
        yield client


def test_scripts_over_http_act_like_the_method(
    plane: httpx.Client, api: Any, empirical: Emulator
) -> None:
    """The same script by either way makes the same run."""
    script = {"environment": "staging", "outcome": "failed", "total": 10, "failed": 2, "runs": 1}
    assert plane.post("/scripts", json=script).json() == {"script": script}
    api.finish(api.trigger())
    empirical.script("staging", "failed", total=10, failed=2, runs=1)
    api.finish(api.trigger())
    first, second = empirical.runs
    assert (first.outcome, first.total_count, first.failed_count) == ("failed", 10, 2)
    assert (first.outcome, first.total_count, first.failed_count) == (
        second.outcome,
        second.total_count,
        second.failed_count,
    )


def test_faults_over_http_act_like_the_method(
    plane: httpx.Client, http: httpx.Client, empirical: Emulator
) -> None:
    """Faults made by either way are the same, are listed, and can be cleared."""
    options: dict[str, Any] = {"when": "after", "status": 503, "retry_after": "2", "times": 3}
    empirical.fault("trigger", "status", **options)
    body = {"endpoint": "trigger", "effect": "status", **options}
    first, second = plane.post("/faults", json=body).json()["faults"]
    assert first == second
    assert http.put("/api/test-runs", json={"environment": "staging"}).status_code == 503
    assert [fault["times"] for fault in plane.get("/").json()["faults"]] == [2, 3]
    assert plane.delete("/faults").json() == {"faults": []}


def test_runs_can_be_forced_and_deleted_over_http(
    plane: httpx.Client, api: Any, http: httpx.Client, empirical: Emulator
) -> None:
    """A run's state can be forced, and a run removed."""
    run_id = api.trigger()
    answer = plane.post(f"/runs/{run_id}", json={"state": "cancelled"})
    assert answer.json()["run"]["state"] == "cancelled"
    assert empirical.runs[0].state == "cancelled"
    assert plane.delete(f"/runs/{run_id}").json() == {"deleted": run_id}
    assert http.get(f"/api/test-runs/{run_id}").status_code == 404


@pytest.mark.parametrize("by_http", [False, True])
def test_a_revoked_key_answers_401_until_it_is_restored(
    plane: httpx.Client, http: httpx.Client, empirical: Emulator, by_http: bool
) -> None:
    """Revoking hits one key only, and can be taken back."""

    def set_revoked(revoked: bool) -> None:
        if by_http:
            plane.post("/keys", json={"key": "made-up-key", "revoked": revoked})
        else:
            (empirical.revoke if revoked else empirical.restore)("made-up-key")

    set_revoked(True)
    assert http.get("/api/test-runs").status_code == 401
    other = {"authorization": "Bearer other"}
    assert http.get("/api/test-runs", headers=other).status_code == 200
    set_revoked(False)
    assert http.get("/api/test-runs").status_code == 200


@pytest.mark.parametrize("by_http", [False, True])
def test_reset_returns_to_the_beginning(
    plane: httpx.Client, api: Any, empirical: Emulator, by_http: bool
) -> None:
    """After a reset nothing is left of runs, scripts, faults, keys and records."""
    empirical.script("staging", "error")
    api.trigger()
    empirical.revoke("made-up-key")
    empirical.fault("*", "drop", times=None)
    if by_http:
        assert plane.post("/reset").json() == {"reset": True}
    else:
        empirical.reset()
    assert (empirical.runs, empirical.requests, empirical.connections) == ([], [], 0)
    assert api.trigger() == 1
    assert empirical.runs[0].outcome == "passed"


def test_the_summary_tells_what_there_is(
    plane: httpx.Client, api: Any, empirical: Emulator
) -> None:
    """The summary has address, project, environments, runs, faults and connections."""
    api.trigger()
    summary = plane.get("/").json()
    assert summary["url"] == empirical.url
    assert summary["project"]["slug"] == "acme"
    assert summary["environments"] == ["production", "staging"]
    assert summary["runs"][0]["body"] == {"environment": "staging"}
    assert summary["faults"] == []
    assert summary["connections"] == empirical.connections == 2


def test_requests_are_recorded_without_the_key(
    plane: httpx.Client, http: httpx.Client, empirical: Emulator
) -> None:
    """Requests are recorded as they came, except for the key, and the same by either way."""
    http.put("/api/test-runs?a=b", content="no json", headers={"x-custom": "1"})
    http.put("/api/test-runs", json={"environment": "staging"})
    http.get("/api/nothing")
    first, second, third = empirical.requests
    assert (first.method, first.path, first.query) == ("PUT", "/api/test-runs", {"a": "b"})
    assert (first.body, first.endpoint) == ("no json", "trigger")
    assert first.headers["authorization"] == "***"
    assert first.headers["x-custom"] == "1"
    assert second.body == {"environment": "staging"}
    assert (third.body, third.endpoint) == (None, None)
    listed = plane.get("/requests")
    assert [row["path"] for row in listed.json()["requests"]] == [
        row.path for row in empirical.requests
    ]
    assert first.at <= second.at <= third.at <= time.time()
    assert "made-up-key" not in listed.text


def test_what_cannot_be_written_back_is_recorded_as_text(
    plane: httpx.Client, http: httpx.Client
) -> None:
    """A body that is JSON only to Python does not break the record."""
    http.put("/api/test-runs", content='{"metadata": {"a": NaN}}')
    assert plane.get("/requests").json()["requests"][0]["body"] == '{"metadata": {"a": NaN}}'


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/scripts", {"environment": "staging"}, "outcome"),
        ("/scripts", {"environment": "prod", "outcome": "passed"}, "environment"),
        ("/scripts", {"environment": "staging", "outcome": "won"}, "outcome"),
        ("/scripts", {"environment": "staging", "outcome": "passed", "x": 1}, "x"),
        ("/scripts", {"environment": "staging", "outcome": "failed", "failed": "2"}, "failed"),
        ("/faults", {"endpoint": "trigger"}, "effect"),
        ("/faults", {"endpoint": "nothing", "effect": "drop"}, "endpoint"),
        ("/faults", {"endpoint": "trigger", "effect": "status"}, "status"),
        ("/faults", {"endpoint": "trigger", "effect": "drop", "times": 0}, "times"),
        ("/faults", {"endpoint": "trigger", "effect": "drop", "often": 2}, "often"),
        ("/runs/1", {"state": "done"}, "state"),
        ("/runs/1", {}, "state"),
        ("/keys", {"key": "k"}, "revoked"),
        ("/keys", {"key": "", "revoked": True}, "key"),
        ("/reset", {"hard": True}, "hard"),
        ("/scripts", [], "must be an object"),
    ],
)
def test_wrong_input_is_refused_by_name(
    plane: httpx.Client, path: str, body: Any, field: str
) -> None:
    """Wrong input answers 422 with the name of the field."""
    answer = plane.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"].startswith(field)


@pytest.mark.parametrize("run_id", ["9", "x"])
def test_an_unknown_run_is_not_found(plane: httpx.Client, run_id: str) -> None:
    """The control plane knows no more runs than the API."""
    assert plane.post(f"/runs/{run_id}", json={"state": "ended"}).status_code == 404
    assert plane.delete(f"/runs/{run_id}").status_code == 404


def test_faults_never_hit_the_control_plane(plane: httpx.Client, empirical: Emulator) -> None:
    """The control plane answers while everything else fails, and is not recorded."""
    empirical.fault("*", "drop", times=None)
    assert plane.get("/").status_code == 200
    assert empirical.requests == []


def test_other_hosts_are_not_served(plane: httpx.Client, http: httpx.Client) -> None:
    """A name that merely resolves to this machine is refused everywhere."""
    for client in (plane, http):
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_pages_from_elsewhere_cannot_use_the_control_plane(
    plane: httpx.Client, api: Any, empirical: Emulator
) -> None:
    """A browser's request from another site is refused, one from this machine is not."""
    api.trigger()
    foreign = plane.post("/reset", headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert len(empirical.runs) == 1
    assert plane.post("/reset", headers={"origin": empirical.url}).status_code == 200


def test_only_given_keys_are_accepted_and_can_be_revoked(
    api_for: Callable[[Emulator], Any],
) -> None:
    """With a list of keys every other key is refused."""
    with Emulator(api_keys=["made-up-key"]) as emulator:
        http = api_for(emulator).http
        assert http.get("/api/test-runs").status_code == 200
        other = {"authorization": "Bearer other"}
        assert http.get("/api/test-runs", headers=other).status_code == 401
        emulator.revoke("made-up-key")
        assert http.get("/api/test-runs").status_code == 401
