"""What a person sees in Prefect of a run that was started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials

if TYPE_CHECKING:
    from conftest import Twin


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
