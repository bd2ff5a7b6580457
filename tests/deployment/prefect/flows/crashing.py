"""Flows whose first process dies at a point of the start of a run; later ones do not."""

from __future__ import annotations

import os
import signal
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.prefect import EmpiricalCredentials, arun_tests, durable, run_tests

# The local Empirical lists a run at once: a minute of waiting would prove nothing more.
durable.GRACE = 2.0


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(point: str) -> None:
    """Have the first process die before a run is started, or with the answer in its hands."""
    if flow_run.run_count > 1:
        return
    send, asend = EmpiricalClient._send, AsyncEmpiricalClient._send

    def dying(self: Any, call: Any, **more: Any) -> Any:
        if call.starts_run and point == "unsent":
            _kill()
        answer = send(self, call, **more)
        if call.starts_run and point == "answered":
            _kill()
        return answer

    async def adying(self: Any, call: Any, **more: Any) -> Any:
        if call.starts_run and point == "unsent":
            _kill()
        answer = await asend(self, call, **more)
        if call.starts_run and point == "answered":
            _kill()
        return answer

    EmpiricalClient._send = dying  # type: ignore[method-assign]
    AsyncEmpiricalClient._send = adying  # type: ignore[method-assign]


@flow(name="crashing")
def crashing(credentials: str, environment: str, point: str) -> dict[str, Any]:
    """Die, and wait once retried; the key is in lists."""
    _crash(point)
    block: Any = EmpiricalCredentials.load(credentials)
    return run_tests(
        credentials=block,
        environment=environment,
        key_in_environment=True,
        poll_interval=0.2,
    )


@flow(name="acrashing")
async def acrashing(credentials: str, environment: str, point: str) -> dict[str, Any]:
    """Do what `crashing` does; the key is in details only."""
    _crash(point)
    return await arun_tests(
        credentials=await EmpiricalCredentials.aload(credentials),
        environment=environment,
        poll_interval=0.2,
    )
