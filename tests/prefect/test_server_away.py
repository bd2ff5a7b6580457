"""Prefect's server, while a run is started: nothing is started that a retry could not know of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient

from empirical_provider import EmpiricalError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run

if TYPE_CHECKING:
    from conftest import Twin


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def _failing(patch: pytest.MonkeyPatch, name: str, fails: Callable[..., bool]) -> None:
    """Have Prefect's two clients fail at a call."""
    from prefect.client.orchestration import PrefectClient  # noqa: PLC0415

    real, areal = getattr(SyncPrefectClient, name), getattr(PrefectClient, name)

    def call(self: Any, *args: Any, **more: Any) -> Any:
        if fails(*args):
            raise ConnectionError("the server is away")
        return real(self, *args, **more)

    async def acall(self: Any, *args: Any, **more: Any) -> Any:
        if fails(*args):
            raise ConnectionError("the server is away")
        return await areal(self, *args, **more)

    patch.setattr(SyncPrefectClient, name, call)
    patch.setattr(PrefectClient, name, acall)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("read_flow_run_states", "could not say what earlier attempts have started"),
        ("filter_flow_run_input", "could not say what earlier attempts have started"),
        ("create_flow_run_input", "could not note that a test run is about to be started"),
    ],
)
def test_nothing_is_started_that_a_retry_could_not_know_of(  # noqa: PLR0917  # fixtures
    name: str,
    words: str,
    twin: Twin,
    call: dict[str, Any],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without Prefect's server no request is sent; the task's retry sends it when it is back."""
    down = iter([True, True])
    _failing(monkeypatch, name, lambda *_: next(down, False))

    state = twin.in_flow(call)
    with pytest.raises(EmpiricalError, match=words):
        state.result()
    assert empirical.requests == []

    state = twin.with_options(retries=1).in_flow(call)
    assert [each["id"] for each in state.result()] == _ids(empirical)


@pytest.mark.usefixtures("echoes")
def test_an_id_that_could_not_be_noted_is_looked_up(
    twin: Twin,
    call: dict[str, Any],
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run that is started is handed on whatever Prefect's server does, and a retry finds it."""
    _failing(monkeypatch, "create_flow_run_input", lambda *args: '"run_id": null' not in args[2])

    state = twin.in_flow(call, failures=1, retries=1)

    assert [each["id"] for each in state.result()] == _ids(empirical)
    assert "could not note which test run was started" in caplog.text


def test_the_event_of_a_run_counts_once(
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt tells of a run under one id, which Prefect's server takes once."""
    emitted: list[Any] = []
    monkeypatch.setattr(
        "prefect.events.emit_event",
        lambda _event, **rest: emitted.append((rest["resource"], rest.get("id"))),
    )
    tries = iter([1])

    @flow(retries=1)
    def release() -> None:
        for _ in range(2):
            trigger_test_run(credentials=credentials, environment="staging")
        for _ in tries:
            raise RuntimeError("the flow failed after its tasks")

    release()

    assert len(empirical.runs) == 2
    assert emitted[:2] == emitted[2:]
    assert len({event_id for _, event_id in emitted}) == 2
