"""The key and the override values are nowhere: not in logs, states, artifacts, files or errors."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import State
from prefect.task_worker import TaskWorker
from pydantic import SecretStr

from empirical_provider import TestsFailedError, TriggerOutcomeUnknownError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, run_tests

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Places, Twin

OVERRIDE = "override-value-3b9e77c1"
PLANTED = "planted-leak-90d2fa64"


def _texts_of(path: Path) -> Iterator[bytes]:
    """Read a file as it is and, where it is a pickled result, what is in the pickle."""
    raw = path.read_bytes()
    yield raw
    for stored in (raw, *re.findall(rb'"result":"([^"]+)"', raw)):
        with contextlib.suppress(binascii.Error):
            yield base64.b64decode(stored.replace(rb"\n", b""))


def _files_with(secret: str, places: Places) -> set[str]:
    """Name the kinds of files under Prefect's home and next to its database that hold it."""
    files = [
        path
        for folder in (places.home, places.database)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert files
    return {
        "database" if ".db" in path.name else "result"
        for path in files
        if any(secret.encode() in text for text in _texts_of(path))
    }


def _told_by(server: SyncPrefectClient, state: State[Any]) -> dict[str, str]:
    """Return all that the server tells about a flow run, by kind."""
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    flow_run = server.read_flow_run(flow_run_id)
    return {
        "parameters": json.dumps(flow_run.parameters),
        "flow run": flow_run.model_dump_json(),
        "task runs": "".join(
            each.model_dump_json() for each in server.read_task_runs(flow_run_filter=this)
        ),
        "artifacts": "".join(
            each.model_dump_json() for each in server.read_artifacts(artifact_filter=artifacts)
        ),
        "logs": "".join(each.message for each in server.read_logs(logs)),
        "inputs": "".join(
            each.model_dump_json()
            for each in server.filter_flow_run_input(flow_run_id, "empirical-", 200, set())
        ),
    }


def _all_told_by(server: SyncPrefectClient, state: State[Any], count: int) -> dict[str, str] | None:
    """Return the same once the server has written it all."""
    told = _told_by(server, state)
    ended = told["logs"].count("Finished in state") > count
    return told if ended and told["task runs"].count('"end_time":"') == count else None


def test_the_search_finds_a_planted_leak(
    places: Places,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A secret that a flow does let out is found in every place that the next test searches."""

    @task(persist_result=True)
    def leak(secret: str) -> str:
        get_run_logger().warning("It is %s", secret)
        create_markdown_artifact(secret, key="leak")
        return f"It is {secret}"

    @flow
    def leaky(secret: str) -> None:
        leak(secret)
        raise RuntimeError(secret)

    state = leaky(PLANTED, return_state=True)

    told = eventually(lambda: _all_told_by(server, state, 1))
    assert {kind for kind, text in told.items() if PLANTED in text} == {
        "parameters",
        "flow run",
        "artifacts",
        "logs",
    }
    assert _files_with(PLANTED, places) == {"database", "result"}
    assert PLANTED in caplog.text


@pytest.mark.parametrize("saved", [False, True], ids=["unsaved", "saved"])
def test_no_secret_is_let_out(  # noqa: PLR0917  # each is a fixture, passed by name
    saved: bool,
    twin: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    places: Places,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    api_key: str,
) -> None:
    """A flow that passes on a retry, and one that fails, tell neither key nor override value."""
    if saved:
        credentials.save("searched", overwrite=True)
        credentials = EmpiricalCredentials.load("searched")
    call = {
        "credentials": credentials,
        "environment": "staging",
        "environment_variables_overrides": {"PASSWORD": SecretStr(OVERRIDE), "USER": OVERRIDE},
    }
    passed = twin.in_flow(call, failures=1, retries=1, persist_result=True)
    told = eventually(lambda: _all_told_by(server, passed, 2))

    empirical.fault("trigger", "drop", when="after")
    failed = twin.in_flow({**call, "key_in_environment": False}, persist_result=True)
    told_of_failure = eventually(lambda: _all_told_by(server, failed, 1))
    with pytest.raises(TriggerOutcomeUnknownError) as caught:
        failed.result()

    assert len(empirical.runs) == 2
    assert [*(places.home / "storage").iterdir()], "nothing was persisted to search"
    assert told["inputs"], "nothing was left for a retry"
    seen = {
        **told,
        **{f"{kind} of the failure": text for kind, text in told_of_failure.items()},
        "log of the process": caplog.text,
        "reprs": f"{credentials!r} {passed!r} {passed.result()!r} {failed!r} {caught.value!r}",
        "error": "".join(traceback.format_exception(caught.value)),
    }
    for secret in (api_key, OVERRIDE):
        assert {kind for kind, text in seen.items() if secret in text} == set()
        assert _files_with(secret, places) == set()


def test_a_gate_lets_no_secret_out(  # noqa: PLR0917  # each is a fixture, passed by name
    running: Twin,
    empirical: Emulator,
    credentials: EmpiricalCredentials,
    places: Places,
    server: SyncPrefectClient,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    api_key: str,
) -> None:
    """A gate that opens and one that stays closed tell neither key nor override value, anywhere."""
    credentials.save("searched-gate", overwrite=True)
    call = {
        "credentials": EmpiricalCredentials.load("searched-gate"),
        "environment": "staging",
        "environment_variables_overrides": {"PASSWORD": SecretStr(OVERRIDE), "USER": OVERRIDE},
        "poll_interval": 0.05,
    }
    passed = running.in_flow(call, persist_result=True)
    told = eventually(lambda: _all_told_by(server, passed, 1))
    empirical.script("staging", "failed")
    failed = running.in_flow(call, persist_result=True)
    told_of_failure = eventually(lambda: _all_told_by(server, failed, 1))
    with pytest.raises(TestsFailedError) as caught:
        failed.result()

    assert "empirical-verdict" in told["artifacts"]
    assert "empirical.test_run." in told["flow run"]
    seen = {
        **told,
        **{f"{kind} of the failure": text for kind, text in told_of_failure.items()},
        "log of the process": caplog.text,
        "verdicts": f"{passed.result()!r} {caught.value.verdict!r} {vars(caught.value)!r}",
        "error": "".join(traceback.format_exception(caught.value)),
    }
    for secret in (api_key, OVERRIDE):
        assert {kind for kind, text in seen.items() if secret in text} == set()
        assert _files_with(secret, places) == set()


@pytest.mark.parametrize("saved", [False, True], ids=["unsaved", "saved"])
def test_a_delayed_call_leaves_no_key_behind(
    saved: bool,
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    places: Places,
    api_key: str,
) -> None:
    """What Prefect stores for its task workers names a saved block, which they load; it refuses one
    that is not saved."""
    call = {"environment": "staging", "poll_interval": 0.05}
    if not saved:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # Prefect may wrap ours
            run_tests.delay(credentials=credentials, **call)
        assert "Save it with `block.save" in "".join(traceback.format_exception(caught.value))
        assert _files_with(api_key, places) == set()
        return
    credentials.save("delayed", overwrite=True)
    block = EmpiricalCredentials.load("delayed")

    async def work() -> Any:
        future = run_tests.delay(credentials=block, **call)
        async with get_client() as client:
            task_run = await client.read_task_run(future.task_run_id)
        async with TaskWorker(run_tests) as worker:
            await worker.execute_task_run(task_run)
        return future.task_run_id

    task_run_id = asyncio.run(work())

    assert [*(places.home / "storage" / "parameters").iterdir()], "nothing was stored to search"
    assert _files_with(api_key, places) == set()
    assert [run.state for run in empirical.runs] == ["ended"], task_run_id
