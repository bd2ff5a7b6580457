"""The two tasks: what they send, what they return, and what they show in Prefect."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.serializers import JSONSerializer, PickleSerializer
from prefect.settings import PREFECT_UI_URL, temporary_settings
from pydantic import Secret, SecretStr

from empirical_provider import (
    Build,
    Concurrency,
    EnvironmentVariable,
    InvalidRequestError,
    TestRunRequest,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, atrigger_test_run, trigger_test_run
from empirical_provider.trigger_key import TriggerKey

if TYPE_CHECKING:
    from conftest import Twin

FIELDS = {
    "build": {
        "url": "https://staging.example.com/",
        "branch": "main",
        "commit": "4f0c",
        "commit_url": "https://git.example.com/4f0c",
        "version": "1.2.3",
    },
    "branch": "feature",
    "metadata": {"release": "1.2.3", "attempt": 2},
    "environment_variables_overrides": [{"name": "PASSWORD", "value": "s3cret"}],
    "tags": ["smoke", "shop"],
    "test_case_ids": ["case-1"],
    "total_shards": 4,
    "send_notifications": False,
    "github_actor": "octocat",
    "concurrency": {"group": "staging", "on_conflict": "cancel"},
}
"""An example of every optional field of the request, as the API gets it."""


def _sent(empirical: Emulator) -> Any:
    """Return the body of the last request that started a run."""
    return [each for each in empirical.requests if each.method == "PUT"][-1].body


def test_the_twins_have_the_same_parameters_and_options() -> None:
    """Both take the request's fields in its order, keyword-only, and are set up the same."""
    sync, twin = trigger_test_run, atrigger_test_run

    assert inspect.signature(sync.fn) == inspect.signature(twin.fn)
    parameters = inspect.signature(sync.fn).parameters
    assert list(parameters) == [
        "credentials",
        *(each.name for each in fields(TestRunRequest)),
        "add_context_metadata",
        "key",
        "key_in_environment",
        "on_retry_after_red",
        "policy",
    ]
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert (sync.name, sync.description, sync.cache_policy, sync.retry_condition_fn) == (
        twin.name,
        twin.description,
        twin.cache_policy,
        twin.retry_condition_fn,
    )
    assert (sync.isasync, twin.isasync) == (False, True)


def test_every_field_of_the_request_has_an_example_here() -> None:
    """A new field of the request cannot be forgotten below."""
    assert {"environment", *FIELDS} == {each.name for each in fields(TestRunRequest)}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_arrives(
    twin: Twin, field: str, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """Each field arrives as documented, and nothing else with it."""
    twin(credentials=credentials, environment="staging", **{field: FIELDS[field]})

    assert _sent(empirical) == {"environment": "staging", field: FIELDS[field]}


def test_the_models_of_the_core_are_taken_too(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """Build, Concurrency and EnvironmentVariable arrive like the mappings they stand for."""
    twin(
        credentials=credentials,
        environment="staging",
        build=Build(version="1.2.3"),
        concurrency=Concurrency(group="g", on_conflict="wait"),
        environment_variables_overrides=[EnvironmentVariable(name="A", value="b")],
    )

    assert _sent(empirical) == {
        "environment": "staging",
        "build": {"version": "1.2.3"},
        "concurrency": {"group": "g", "on_conflict": "wait"},
        "environment_variables_overrides": [{"name": "A", "value": "b"}],
    }


@pytest.mark.parametrize(
    "overrides",
    [
        {"PASSWORD": SecretStr("s3cret")},
        {"PASSWORD": Secret[str]("s3cret")},
        [{"name": "PASSWORD", "value": SecretStr("s3cret")}],
    ],
)
def test_a_secret_override_is_unwrapped(
    twin: Twin, overrides: Any, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """SecretStr, and what a Secret block holds, arrive as the text in them, from a flow too."""
    twin.in_flow(
        {
            "credentials": credentials,
            "environment": "staging",
            "environment_variables_overrides": overrides,
            "add_context_metadata": False,
        }
    )

    *sent, key = _sent(empirical)["environment_variables_overrides"]
    assert key["name"] == "EMPIRICAL_TRIGGER_KEY"
    assert sent == [{"name": "PASSWORD", "value": "s3cret"}]


def test_an_iterator_is_not_used_up_before_it_is_sent(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """Tags from a generator arrive although the key of the call is made of them first."""
    call = {"credentials": credentials, "environment": "staging", "tags": iter(["a", "b"])}

    twin.in_flow(call)

    assert _sent(empirical)["tags"] == ["a", "b"]


def test_the_run_is_returned_as_plain_data(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """The result holds the id, state, link, branch and time, and survives both serializers."""
    run = twin(credentials=credentials, environment="staging")

    (made,) = empirical.runs
    assert run == {
        "id": made.id,
        "state": "queued",
        "url": f"{empirical.url}/acme/test-runs/{made.id}",
        "branch": "main",
        "created_at": made.created_at,
    }
    for serializer in (JSONSerializer(), PickleSerializer()):
        assert serializer.loads(serializer.dumps(run)) == run


def test_the_flow_run_is_named_in_the_metadata(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials, server: SyncPrefectClient
) -> None:
    """The run says which flow started it and where to see that; keys of the user's win.

    And it carries the key by which it is found again.
    """
    call = {
        "credentials": credentials,
        "environment": "staging",
        "metadata": {"flow_name": "mine", "release": 7},
    }
    with temporary_settings({PREFECT_UI_URL: "https://prefect.example.com"}):
        state = twin.in_flow(call)

    flow_run = server.read_flow_run(state.state_details.flow_run_id)
    metadata = _sent(empirical)["metadata"]
    assert TriggerKey.parse(metadata.pop("trigger_key"))
    assert metadata == {
        "flow_name": "mine",
        "flow_run_name": flow_run.name,
        "flow_run_id": str(flow_run.id),
        "flow_run_url": f"https://prefect.example.com/runs/flow-run/{flow_run.id}",
        "release": 7,
    }


def test_the_metadata_about_the_flow_run_can_be_turned_off(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """With add_context_metadata=False the service learns nothing but the key, which is a hash."""
    twin.in_flow(
        {"credentials": credentials, "environment": "staging", "add_context_metadata": False}
    )

    sent = _sent(empirical)
    key = sent.pop("metadata").pop("trigger_key")
    assert TriggerKey.parse(key)
    assert sent == {
        "environment": "staging",
        "environment_variables_overrides": [{"name": "EMPIRICAL_TRIGGER_KEY", "value": key}],
    }


def test_it_works_without_prefect_around_it(
    empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """The function in the task can be called on its own: no context, no artifact, no error."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")

    assert run["id"] == empirical.runs[-1].id
    assert _sent(empirical) == {"environment": "staging"}


def test_a_bad_argument_is_refused_before_anything_is_sent(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """The core's own error comes out of the task and no connection was opened."""
    before = empirical.connections

    with pytest.raises(InvalidRequestError, match="metadata\\['ok'\\] must be a string or a num"):
        twin(credentials=credentials, environment="staging", metadata={"ok": True})

    assert empirical.connections == before


def test_an_unknown_environment_is_told_in_the_services_words(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """The service's list of environments reaches the user."""
    with pytest.raises(InvalidRequestError, match=r"production.*staging") as caught:
        twin(credentials=credentials, environment="stagign")

    assert caught.value.status in {400, 422}
    assert empirical.runs == []
