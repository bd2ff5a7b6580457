"""Flows with our tasks can be visualized: nothing is sent, and the flow reads what they return."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.utilities.visualization import GraphvizExecutableNotFoundError, TaskVizTracker

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    apreflight,
    arun_tests,
    atrigger_test_run,
    await_for_test_run,
    preflight,
    run_tests,
    trigger_test_run,
    wait_for_test_run,
)

ALL = ["preflight-0", "trigger-test-run-0", "wait-for-test-run-0", "run-tests-0"]


@pytest.mark.filterwarnings("ignore:.*will execute code inside of your flow:UserWarning")
def test_a_flow_is_visualized(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The flow comes to its end; only the program that draws the picture is missing here."""
    ended: list[str] = []
    given: dict[str, Any] = {"credentials": credentials, "environment": "staging"}

    @flow
    def release() -> None:
        preflight(**given)["environment"]
        run = trigger_test_run(**given)
        wait_for_test_run(credentials=credentials, test_run_id=run["id"])
        verdict = run_tests(**given)
        if verdict["decision"] == "pass" and not verdict["counts"]["failed"]:
            ended.append(verdict["summary"])

    monkeypatch.chdir(tmp_path)  # the source of the picture is written there
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GraphvizExecutableNotFoundError):
        release.visualize()
    with TaskVizTracker() as tracker:
        release.fn()

    assert len(ended) == 2
    assert [each.name for each in tracker.tasks] == ALL
    assert empirical.requests == []


def test_an_async_flow_is_visualized(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The async variants are tracked, too."""
    given: dict[str, Any] = {"credentials": credentials, "environment": "staging"}

    @flow
    async def release() -> str:
        (await apreflight(**given))["environment"]
        run = await atrigger_test_run(**given)
        await await_for_test_run(credentials=credentials, test_run_id=run["id"])
        return (await arun_tests(**given))["summary"]

    with TaskVizTracker() as tracker:
        asyncio.run(release.fn())

    assert [each.name for each in tracker.tasks] == ALL
    assert empirical.requests == []


def test_a_flow_with_a_job_is_visualized(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The handle on the run goes on with what the tasks return."""
    job = EmpiricalTestJob(credentials=credentials, environment="staging")

    @flow
    def release() -> str:
        run = job.trigger()
        run.wait_for_completion()
        return run.fetch_result()["summary"]

    with TaskVizTracker() as tracker:
        release.fn()

    assert [each.name for each in tracker.tasks] == ALL[1:3]
    assert empirical.requests == []
