"""Many that want the same release tested at the same moment get one run, and its verdict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    TestRunRequest,
    atrigger_test_run,
    await_for_test_run,
)
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from empirical_provider.emulator import Emulator

    Call = Callable[[AsyncEmpiricalClient, Any], Awaitable[Any]]

TASKS = 20
REPETITIONS = examples(50)
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

STAGING = TestRunRequest(environment="staging", build={"commit": "abc"})


@pytest.mark.parametrize("lag", [0.0, 0.3])
def test_twenty_tasks_share_one_run(lag: float, empirical: Emulator, api_key: str) -> None:
    """Of the runs that twenty start at once the one with the lowest id stays, time after time.

    Half of the repetitions are with lists that show a new run late.
    """
    settings = {"api_key": api_key, "base_url": empirical.url, "project_slug": "acme"}

    async def all_of(call: Call, *given: Any) -> list[Any]:
        async with AsyncEmpiricalClient(**settings) as client:
            return await asyncio.gather(*(call(client, each) for each in given))

    async def start(client: AsyncEmpiricalClient, key: str) -> int:
        return (await atrigger_test_run(client, STAGING, key=key, key_in_environment=True)).id

    async def wait(client: AsyncEmpiricalClient, run_id: int) -> str:
        return (await await_for_test_run(client, run_id, poll_interval=0.05)).outcome

    met = 0
    for repetition in range(REPETITIONS // 2):
        empirical.reset()
        empirical.behave(list_lag=lag)
        empirical.script("staging", "stuck")  # until all have settled

        answers = asyncio.run(all_of(start, *[f"release {repetition}"] * TASKS))

        winner, *rivals = empirical.runs
        met += bool(rivals)
        assert answers == [winner.id] * TASKS
        assert {run.state for run in rivals} <= {"cancelling", "cancelled"}
        empirical.set_state(winner.id, "ended")
        assert asyncio.run(all_of(wait, *answers)) == ["passed"] * TASKS
    assert met == REPETITIONS // 2, "they never started at once, so that nothing was shown"
