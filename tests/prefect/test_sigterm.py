"""The process of a flow run is told to end: only where a person has cancelled it, the run ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import get_current_settings
from prefect.states import Cancelling

from empirical_provider.emulator import Emulator
from tests.deployment.processes import Processes, until

if TYPE_CHECKING:
    from conftest import Places

pytestmark = pytest.mark.slow

FLOWS = """
import asyncio, sys
from unittest import mock
from prefect import flow
from empirical_provider.prefect import EmpiricalCredentials, arun_tests, run_tests

name, form, server, api_key, base_url = sys.argv[1:]
credentials = EmpiricalCredentials(api_key=api_key, base_url=base_url)
call = {"credentials": credentials, "environment": "staging", "poll_interval": 0.1}

@flow
def inner():
    run_tests(**call)

@flow(name=name)
def release():
    inner()

@flow(name=name)
async def arelease():
    await arun_tests(**call)

def away(*_, **__):
    raise ConnectionError("the server is away")

if server == "away":
    mock.patch("empirical_provider.prefect.cancelling.get_client", away).start()
asyncio.run(arelease()) if form == "async" else release()
"""

ENDED = {"cancelling", "cancelled"}


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Run processes that end with the test."""
    with Processes("sigterm") as processes:
        yield processes


@pytest.mark.parametrize("form", ["subflow", "async"])
@pytest.mark.parametrize("told", ["drained", "cancelled", "away"])
def test_a_flow_run_whose_process_gets_sigterm(  # noqa: PLR0917  # fixtures, passed by name
    told: str,
    form: str,
    processes: Processes,
    places: Places,
    server: SyncPrefectClient,
    empirical: Emulator,
    api_key: str,
    tmp_path: Path,
) -> None:
    """A process that is drained leaves its run to a retry, and says which; a cancel ends the run.

    Where Prefect's server does not say that it is one, the run is left alone. A user cancels the
    outermost flow run.
    """
    empirical.script("staging", "stuck")
    name = f"release-{uuid4()}"
    (tmp_path / "flows.py").write_text(FLOWS, "utf-8")
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_HOME": str(places.home),
    }
    command = [sys.executable, "flows.py", name, form, told, api_key, empirical.url]
    processes.start("flow", command, environment, tmp_path)
    until("it waits", lambda: _looks(empirical) > 2, 60)
    if told == "cancelled":
        (flow_run,) = server.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[name]))
        )
        server.set_flow_run_state(flow_run.id, Cancelling(), force=True)

    processes.kill("flow", signal.SIGTERM)

    (run,) = empirical.runs
    output = processes.output()
    assert (run.state in ENDED) == (told == "cancelled"), output
    goes_on = f"Empirical test run {run.id} goes on"
    assert [goes_on in line for line in output.splitlines()].count(True) == (told != "cancelled")
    link = f"{empirical.url}/acme/test-runs/{run.id}"
    assert [goes_on in line and link in line for line in output.splitlines()].count(True) == (
        told != "cancelled"
    )


def _looks(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("get_test_run")
