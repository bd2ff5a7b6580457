"""A wait for a run that something else has started: another task, an earlier flow run, a cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.cache_policies import INPUTS

from empirical_provider import InvalidRequestError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    atrigger_test_run,
    await_for_test_run,
    trigger_test_run,
    wait_for_test_run,
)

if TYPE_CHECKING:
    from conftest import Twin

FAST = {"poll_interval": 0.01}


def test_a_submitted_wait_takes_a_submitted_trigger(
    call: dict[str, Any], credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The future of a trigger stands for its run, in a call and in a submitted one."""

    @flow
    def release() -> list[Any]:
        run = trigger_test_run.submit(**call)
        called = wait_for_test_run(credentials=credentials, test_run_id=run, **FAST)
        submitted = wait_for_test_run.submit(credentials=credentials, test_run_id=run, **FAST)
        return [called["run_id"], submitted.result()["run_id"]]

    @flow
    async def arelease() -> list[Any]:
        run = atrigger_test_run.submit(**call)
        called = await await_for_test_run(credentials=credentials, test_run_id=run, **FAST)
        submitted = await_for_test_run.submit(credentials=credentials, test_run_id=run, **FAST)
        return [called["run_id"], submitted.result()["run_id"]]

    assert release() == [empirical.runs[0].id] * 2
    assert asyncio.run(arelease()) == [empirical.runs[1].id] * 2


def test_a_cached_run_is_attached_to(
    call: dict[str, Any],
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A second flow run takes the run from the cache, and the log says when that was created."""
    trigger = trigger_test_run.with_options(
        cache_policy=INPUTS, persist_result=True, result_serializer="json"
    )
    metadata = {"release": uuid4().hex}

    @flow
    def release() -> Any:
        run = trigger(**call, metadata=metadata)
        return wait_for_test_run(credentials=credentials, test_run_id=run, **FAST)

    first = release()
    caplog.clear()
    second = release()

    (made,) = empirical.runs
    assert [first["run_id"], second["run_id"]] == [made.id] * 2
    told = f"Attaching to Empirical test run {made.id}, created at '{made.created_at}'."
    assert told in caplog.messages
    assert not any("is queued" in message for message in caplog.messages)


@pytest.mark.parametrize("run", [{}, {"run_id": 7}, {"id": None}, {"id": "seven"}])
def test_a_mapping_that_is_no_run_is_rejected(
    run: dict[str, Any], waiting: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A mapping without the id of a run, such as a verdict, is rejected before any request."""
    with pytest.raises(InvalidRequestError, match=r"test_run_id\['id'\] must be the id"):
        waiting.without_prefect(credentials=credentials, test_run_id=run)
    assert empirical.requests == []
