"""What Prefect is shown of a run does not stand between its wait and the first poll."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run

if TYPE_CHECKING:
    from conftest import Twin

    from empirical_provider.emulator import Emulator


class Slow:
    """Prefect's server as it may be: no label and no artifact is there before the first poll."""

    def __init__(self, empirical: Emulator) -> None:
        self._empirical = empirical
        self.polled: list[bool] = []

    def _has_polled(self) -> bool:
        return any(each.endpoint == "get_test_run" for each in self._empirical.requests)

    def __call__(self, *_: Any, **__: Any) -> Any:
        end = time.monotonic() + 5
        while not self._has_polled() and time.monotonic() < end:
            time.sleep(0.01)
        self.polled.append(self._has_polled())
        raise ConnectionError("the server is busy")

    async def awaited(self, *_: Any, **__: Any) -> Any:
        end = time.monotonic() + 5
        while not self._has_polled() and time.monotonic() < end:  # noqa: ASYNC110  # in a thread
            await asyncio.sleep(0.01)
        self.polled.append(self._has_polled())
        raise ConnectionError("the server is busy")


@pytest.fixture
def slow(empirical: Emulator, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Have labels and artifacts wait for the first poll."""
    slow = Slow(empirical)
    monkeypatch.setattr("empirical_provider.prefect.showing.get_client", slow)
    for name in ("link", "progress", "markdown"):
        monkeypatch.setattr(f"prefect.artifacts.create_{name}_artifact", slow)
        monkeypatch.setattr(f"prefect.artifacts.acreate_{name}_artifact", slow.awaited)
    return slow


def test_a_run_that_is_started_is_polled_before_it_is_shown(
    running: Twin, gate: dict[str, Any], slow: Slow
) -> None:
    """Label and link come beside the wait, which has its verdict without them."""
    state = running.in_flow(gate)

    assert [each["outcome"] for each in state.result()] == ["passed"]
    assert len(slow.polled) >= 2, "neither label nor link was tried"
    assert all(slow.polled)


def test_a_run_that_is_waited_for_is_polled_before_it_is_shown(
    waiting: Twin, credentials: EmpiricalCredentials, slow: Slow
) -> None:
    """So does the label of a wait for a run that something else has started."""
    run = trigger_test_run.fn(credentials=credentials, environment="staging")
    call = {"credentials": credentials, "test_run_id": run["id"], "poll_interval": 0.01}

    state = waiting.in_flow(call)

    assert [each["outcome"] for each in state.result()] == ["passed"]
    assert slow.polled
    assert all(slow.polled)
