"""What a person sees in Prefect of a run that was started."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, run_tests

if TYPE_CHECKING:
    from conftest import Twin


def test_the_run_is_shown_in_prefect(
    twin: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """The flow run has the label, an artifact with the link, and one line in its log with both."""
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
        return [each.message for each in logs if f"est run {made.id}" in each.message]

    assert eventually(lines) == [f"Empirical test run {made.id} is queued in 'staging': {url}"]


@pytest.mark.seconds
def test_the_look_up_of_a_run_is_in_the_log_of_the_task_run(
    twin: Twin,
    call: dict[str, Any],
    empirical: Emulator,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
) -> None:
    """Prefect's UI shows that a lost response was looked up, and that a retry reattaches."""
    empirical.fault("trigger", "drop", when="after")

    state = twin.in_flow(call, failures=1, retries=1)

    (made,) = empirical.runs
    ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))

    def lines() -> list[str]:
        return [each.message for each in server.read_logs(ours) if each.task_run_id]

    reattached = f"Test run {made.id} was started for this before"
    assert eventually(lambda: [line for line in lines() if line.startswith(reattached)])
    assert any("Looking for it now." in line for line in lines())


@pytest.mark.seconds
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


@pytest.mark.seconds
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
    start = f"Empirical test run {made.id} is queued in 'staging'"
    assert f"{start}: (its page is not known)" in caplog.messages
    ours = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    )
    assert server.read_artifacts(artifact_filter=ours) == []


@pytest.mark.seconds
def test_two_tasks_never_label_at_the_same_moment(
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    server: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of tasks that run at the same time each has its turn: the server may lose labels otherwise.

    The server of the tests loses none, so it is only seen here that it is not asked to.
    """
    at_once: list[int] = []
    asking: list[int] = []

    def watched(update: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            asking.append(1)
            at_once.append(len(asking))
            time.sleep(0.1)
            answer = update(*args)
            asking.pop()
            return answer

        async def acall(*args: Any) -> Any:
            asking.append(1)
            at_once.append(len(asking))
            await asyncio.sleep(0.1)
            answer = await update(*args)
            asking.pop()
            return answer

        return acall if inspect.iscoroutinefunction(update) else call

    for client in (SyncPrefectClient, PrefectClient):
        update = watched(client.update_flow_run_labels)
        monkeypatch.setattr(client, "update_flow_run_labels", update)

    @flow
    def release() -> None:
        futures = [run_tests.submit(**gate) for _ in range(3)]
        for each in futures:
            each.result()

    @flow
    async def arelease() -> None:
        await asyncio.gather(*(running.task(**gate) for _ in range(3)))

    state = (
        asyncio.run(arelease(return_state=True)) if running.is_async else release(return_state=True)
    )

    labels = server.read_flow_run(state.state_details.flow_run_id).labels
    assert {f"empirical.test_run.{each.id}" for each in empirical.runs} <= set(labels)
    assert at_once == [1, 1, 1]
