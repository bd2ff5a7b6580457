"""The two tasks: what they send, what they return, and what they show in Prefect."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
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

if TYPE_CHECKING:
    from collections.abc import Callable

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

    assert _sent(empirical)["environment_variables_overrides"] == [
        {"name": "PASSWORD", "value": "s3cret"}
    ]


def test_an_iterator_is_not_used_up_before_it_is_sent(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """Tags from a generator arrive although the cache key looks at the arguments first."""
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
    """The run says which flow started it and where to see that; keys of the user's win."""
    call = {
        "credentials": credentials,
        "environment": "staging",
        "metadata": {"flow_name": "mine", "release": 7},
    }
    with temporary_settings({PREFECT_UI_URL: "https://prefect.example.com"}):
        state = twin.in_flow(call)

    flow_run = server.read_flow_run(state.state_details.flow_run_id)
    assert _sent(empirical)["metadata"] == {
        "flow_name": "mine",
        "flow_run_name": flow_run.name,
        "flow_run_id": str(flow_run.id),
        "flow_run_url": f"https://prefect.example.com/runs/flow-run/{flow_run.id}",
        "release": 7,
    }


def test_the_metadata_about_the_flow_run_can_be_turned_off(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials
) -> None:
    """With add_context_metadata=False the service learns nothing that the user did not write."""
    twin.in_flow(
        {"credentials": credentials, "environment": "staging", "add_context_metadata": False}
    )

    assert _sent(empirical) == {"environment": "staging"}


def test_the_run_is_shown_in_prefect(
    twin: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """The flow run has the label, an artifact with the link, and both in its log, id first."""
    state = twin.in_flow({"credentials": credentials, "environment": "staging"})

    flow_run_id = state.state_details.flow_run_id
    (made,) = empirical.runs
    url = f"{empirical.url}/acme/test-runs/{made.id}"
    assert server.read_flow_run(flow_run_id).labels["empirical.test_run_id"] == made.id
    (artifact,) = server.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    )
    assert artifact.key == "empirical-test-run"
    assert artifact.data == f"[Empirical test run {made.id}]({url})"
    assert artifact.task_run_id is not None

    def lines() -> list[str]:
        ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        logs = sorted(server.read_logs(ours), key=lambda each: each.timestamp)
        return [each.message for each in logs if each.message.startswith("Empirical test run")]

    assert eventually(lambda: lines() if len(lines()) == 2 else None) == [
        f"Empirical test run {made.id} is queued in 'staging'.",
        f"Empirical test run {made.id}: {url}",
    ]


def test_the_last_of_several_runs_is_the_label(
    twin: Twin, empirical: Emulator, credentials: EmpiricalCredentials, server: SyncPrefectClient
) -> None:
    """A flow that starts two runs is labelled with the second, and has an artifact for each."""
    call = {"credentials": credentials, "environment": "staging"}

    state = twin.in_flow(call, call)

    flow_run_id = state.state_details.flow_run_id
    assert len(empirical.runs) == 2
    label = server.read_flow_run(flow_run_id).labels["empirical.test_run_id"]
    assert label == empirical.runs[-1].id
    ours = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    assert len(server.read_artifacts(artifact_filter=ours)) == 2


def test_a_failure_to_show_the_run_is_only_a_warning(
    twin: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without artifact and label the task succeeds all the same: a retry starts a second run."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the server is away")

    monkeypatch.setattr("prefect.artifacts.create_link_artifact", fail)
    monkeypatch.setattr("prefect.artifacts.acreate_link_artifact", fail)
    monkeypatch.setattr("empirical_provider.prefect.showing.get_client", fail)

    state = twin.with_options(retries=2).in_flow(
        {"credentials": credentials, "environment": "staging"}
    )

    assert state.is_completed()
    (made,) = empirical.runs
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    start = f"Empirical test run {made.id}: could not"
    assert warnings == [
        f"{start} label the flow run: RuntimeError('the server is away')",
        f"{start} link it by an artifact: RuntimeError('the server is away')",
    ]


def test_a_run_without_a_link_is_started_all_the_same(
    twin: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    server: SyncPrefectClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When the project's slug cannot be had there is no artifact, and the log still has the id."""
    empirical.fault("get_project", "status", status=500, times=None)
    empirical.fault("get_test_run", "status", status=500, times=None)

    state = twin.in_flow({"credentials": credentials, "environment": "staging"})

    (made,) = empirical.runs
    (run,) = state.result()
    assert (run["id"], run["url"]) == (made.id, None)
    assert f"Empirical test run {made.id}: (its page is not known)" in caplog.messages
    ours = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    )
    assert server.read_artifacts(artifact_filter=ours) == []


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
