"""A request is checked when it is made, and arrives exactly as it was given."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    Build,
    Concurrency,
    EmpiricalClient,
    EnvironmentVariable,
    InvalidRequestError,
    TestRunRequest,
)

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

FIELDS: dict[str, tuple[Any, Any]] = {
    "build.url": ({"build": {"url": "https://a.example/1"}}, {"url": "https://a.example/1"}),
    "build.branch": ({"build": {"branch": "feature/x"}}, {"branch": "feature/x"}),
    "build.commit": ({"build": {"commit": "0a1b2c"}}, {"commit": "0a1b2c"}),
    "build.commit_url": (
        {"build": Build(commit_url="http://git.example/c/1")},
        {"commit_url": "http://git.example/c/1"},
    ),
    "build.version": ({"build": {"version": "1.2.3"}}, {"version": "1.2.3"}),
    "branch": ({"branch": "tests-for-x"}, "tests-for-x"),
    "metadata": (
        {"metadata": {"by": "alice", "n": 3, "x": 0.5, "ümlaut": "日本"}},
        {"by": "alice", "n": 3, "x": 0.5, "ümlaut": "日本"},
    ),
    "environment_variables_overrides (mapping)": (
        {"environment_variables_overrides": {"TOKEN": "s3", "EMPTY": ""}},
        [{"name": "TOKEN", "value": "s3"}, {"name": "EMPTY", "value": ""}],
    ),
    "environment_variables_overrides (list)": (
        {
            "environment_variables_overrides": [
                {"name": "A", "value": "1"},
                EnvironmentVariable(name="B", value="2"),
            ]
        },
        [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    ),
    "tags": ({"tags": ["@smoke", "@slow"]}, ["@smoke", "@slow"]),
    "test_case_ids": ({"test_case_ids": ("a" * 20 + "-" + "b" * 20,)}, ["a" * 20 + "-" + "b" * 20]),
    "total_shards": ({"total_shards": 4}, 4),
    "send_notifications": ({"send_notifications": False}, False),
    "github_actor": ({"github_actor": "octocat"}, "octocat"),
    "concurrency": (
        {"concurrency": {"group": "g" * 512, "on_conflict": "wait"}},
        {"group": "g" * 512, "on_conflict": "wait"},
    ),
    "concurrency (none)": ({"concurrency": False}, None),
    "concurrency (object)": (
        {"concurrency": Concurrency(group="g", on_conflict="cancel")},
        {"group": "g", "on_conflict": "cancel"},
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_arrives_as_documented(field: str, empirical: Emulator, ask: Twin) -> None:
    """Each field of a request stands in the body under its documented name, and nothing else."""
    given, arrives = FIELDS[field]
    ask("trigger", TestRunRequest(environment="staging", **given))
    [request] = empirical.requests
    name = field.partition(" ")[0].partition(".")[0]
    assert request.body == {"environment": "staging", name: arrives}


def test_absent_fields_are_left_out(empirical: Emulator, ask: Twin) -> None:
    """A request with nothing but an environment sends nothing but the environment."""
    ask("trigger", TestRunRequest(environment="production"))
    assert [request.body for request in empirical.requests] == [{"environment": "production"}]


def test_empty_mappings_are_left_out() -> None:
    """An empty mapping says nothing, so it is not sent, nor does an empty build bar a branch."""
    request = TestRunRequest(
        environment="staging",
        build={},
        branch="main",
        metadata={},
        environment_variables_overrides={},
    )
    assert request.body() == {"environment": "staging", "branch": "main"}


def test_the_headers_are_the_documented_ones(empirical: Emulator, ask: Twin) -> None:
    """A request carries a bearer key, JSON, our name and version, and the project if given."""
    ask.settings["project_id"] = 7
    ask("trigger", TestRunRequest(environment="production"))
    [request] = empirical.requests
    assert (request.method, request.path) == ("PUT", "/api/test-runs")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("empirical-provider/0.")
    assert request.headers["x-project-id"] == "7"
    assert request.headers["authorization"] == "***"  # the recorder hides it


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"environment": ""}, "environment must be a non-empty string, not an empty str"),
    ({"environment": "  "}, "environment must be a non-empty string, not a blank str"),
    ({"environment": None}, "environment must be a non-empty string, not None"),
    ({"environment": 3}, "environment must be a non-empty string, not int"),
    ({"build": {"version": "1"}, "branch": "x"}, "build and branch cannot be given together"),
    ({"build": "main"}, "build must be a mapping, not str"),
    ({"build": {"comit": "x"}}, "build has the unknown key 'comit'; known are url, branch, commit"),
    ({"build": {"url": "ftp://a.example"}}, "build.url must be an http or https URL"),
    ({"build": {"url": "a.example"}}, "build.url must be an http or https URL"),
    ({"build": {"url": "https://a b.example"}}, "build.url must be an http or https URL"),
    ({"build": {"url": "https://[::1"}}, "build.url must be an http or https URL"),
    ({"build": {"commit_url": "javascript:1"}}, "build.commit_url must be an http or https URL"),
    ({"build": {"commit": 12345}}, "build.commit must be a non-empty string, not int"),
    ({"build": {"branch": ""}}, "build.branch must be a non-empty string"),
    ({"branch": 5}, "branch must be a non-empty string, not int"),
    ({"metadata": {"ok": True}}, "metadata['ok'] must be a string or a number, not bool"),
    ({"metadata": {"x": None}}, "metadata['x'] must be a string or a number, not None"),
    ({"metadata": {"x": {"y": 1}}}, "metadata['x'] must be a string or a number, not dict"),
    ({"metadata": {"x": [1]}}, "metadata['x'] must be a string or a number, not list"),
    ({"metadata": {"x": float("nan")}}, "metadata['x'] must be a finite number"),
    ({"metadata": {1: "x"}}, "a key of metadata must be a non-empty string, not int"),
    ({"metadata": "a=b"}, "metadata must be a mapping, not str"),
    ({"environment_variables_overrides": {"": "x"}}, "overrides[0].name must be a non-empty"),
    ({"environment_variables_overrides": {"A": 1}}, "(of 'A') must be a string, not int"),
    (
        {"environment_variables_overrides": [{"name": "A", "value": "1"}] * 2},
        "environment_variables_overrides sets 'A' twice",
    ),
    ({"environment_variables_overrides": [{"name": "A"}]}, "overrides[0] lacks value"),
    (
        {"environment_variables_overrides": [{"name": "A", "val": "1"}]},
        "overrides[0] has the unknown key 'val'; known are name, value",
    ),
    ({"environment_variables_overrides": "A=1"}, "must be a mapping of name to value"),
    ({"tags": "@smoke"}, "tags must be a list of strings, not str"),
    ({"tags": [1]}, "tags[0] must be a non-empty string, not int"),
    ({"tags": []}, "tags must name at least one"),
    ({"test_case_ids": [""]}, "test_case_ids[0] must be a non-empty string"),
    ({"total_shards": 0}, "total_shards must be at least 1, not 0"),
    ({"total_shards": True}, "total_shards must be an integer of at least 1, not bool"),
    ({"total_shards": 2.0}, "total_shards must be an integer of at least 1, not float"),
    ({"send_notifications": "no"}, "send_notifications must be True or False, not str"),
    ({"github_actor": ""}, "github_actor must be a non-empty string"),
    ({"concurrency": True}, "concurrency must be a mapping, not bool"),
    ({"concurrency": {"group": "g"}}, "concurrency.on_conflict must be cancel or wait, not None"),
    ({"concurrency": {"group": "", "on_conflict": "wait"}}, "concurrency.group must be"),
    ({"concurrency": {"group": "g" * 513, "on_conflict": "wait"}}, "1 to 512 characters, not 513"),
    ({"concurrency": {"group": "g", "on_conflict": "queue"}}, "cancel or wait, not 'queue'"),
    ({"concurrency": {"grup": "g"}}, "concurrency has the unknown key 'grup'"),
]


@pytest.mark.parametrize(("given", "message"), INVALID, ids=[text for _, text in INVALID])
def test_invalid_values_are_refused_before_anything_is_sent(
    given: dict[str, Any], message: str, empirical: Emulator, api_key: str
) -> None:
    """A bad value is refused with the field's name, and no connection was opened meanwhile."""
    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        with pytest.raises(InvalidRequestError) as refusal:
            client.trigger(TestRunRequest(**{"environment": "staging", **given}))
        assert empirical.connections == 0
    assert message in str(refusal.value)
    assert isinstance(refusal.value, ValueError)


def test_a_request_shows_no_override_value() -> None:
    """The repr of a request and of what it holds names the overrides, and hides their values."""
    request = TestRunRequest(environment="e", environment_variables_overrides={"TOKEN": "hush"})
    assert "TOKEN" in repr(request)
    assert "hush" not in repr(request)
    assert "hush" not in str(request)


def test_a_request_is_frozen_and_survives_pickling() -> None:
    """A request cannot be changed, and comes out of a pickle equal."""
    request = TestRunRequest(environment="e", build={"url": "https://a.example"}, tags=["@a"])
    with pytest.raises(AttributeError):
        request.environment = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(request)) == request
