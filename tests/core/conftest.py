"""One way to use either client, so that every test of a client runs on both twins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import (
    AsyncEmpiricalClient,
    EmpiricalClient,
    TestRunRequest,
    apreflight,
    atrigger_test_run,
    await_for_test_run,
    preflight,
    trigger_test_run,
    wait_for_test_run,
)
from empirical_provider.ended_runs import alook_for_ended_runs, look_for_ended_runs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from empirical_provider.emulator import Emulator
    from empirical_provider.ended_runs import Cursor


class Twin:
    """Calls a method of one of the clients, which waits without taking time.

    `slept` holds the waits that it asked for; its clock moves by them alone.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        self.kind = kind
        self.settings = settings
        self.slept: list[float] = []

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "sync":
            return self._sync(lambda client: getattr(client, method)(*args, **kwargs))

        async def call(client: AsyncEmpiricalClient) -> Any:
            result = getattr(client, method)(*args, **kwargs)
            return [run async for run in result] if hasattr(result, "__aiter__") else await result

        return asyncio.run(self._async(call))

    def trigger_test_run(self, request: TestRunRequest, **kwargs: Any) -> Any:
        if self.kind == "sync":
            return self._sync(lambda client: trigger_test_run(client, request, **kwargs))
        if "save" in kwargs:
            kwargs["save"] = _awaitable(kwargs["save"])
        return asyncio.run(self._async(lambda client: atrigger_test_run(client, request, **kwargs)))

    def preflight(self, request: TestRunRequest) -> Any:
        if self.kind == "sync":
            return self._sync(lambda client: preflight(client, request))
        return asyncio.run(self._async(lambda client: apreflight(client, request)))

    def look_for_ended_runs(self, cursors: Iterable[Cursor | None]) -> Any:
        if self.kind == "sync":
            return self._sync(lambda client: look_for_ended_runs(client, cursors))
        return asyncio.run(self._async(lambda client: alook_for_ended_runs(client, cursors)))

    def wait_for_test_run(self, run_id: int, **kwargs: Any) -> Any:
        if self.kind == "sync":
            return self._sync(lambda client: wait_for_test_run(client, run_id, **kwargs))
        return asyncio.run(self._async(lambda client: await_for_test_run(client, run_id, **kwargs)))

    def _sync(self, use: Callable[[EmpiricalClient], Any]) -> Any:
        with EmpiricalClient(**self.settings) as client:
            client._sleep = self.slept.append
            client._clock = lambda: sum(self.slept)
            result = use(client)
            return list(result) if hasattr(result, "__next__") else result

    async def _async(self, use: Callable[[AsyncEmpiricalClient], Any]) -> Any:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async with AsyncEmpiricalClient(**self.settings) as client:
            client._sleep = sleep
            client._clock = lambda: sum(self.slept)
            return await use(client)


def _awaitable(function: Callable[[Any], object]) -> Callable[[Any], Awaitable[object]]:
    async def call(value: Any) -> object:
        return function(value)

    return call


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, empirical: Emulator, api_key: str) -> Twin:
    """Return either client, ready to ask the local Empirical."""
    return Twin(request.param, api_key=api_key, base_url=empirical.url)
