"""The example flow runs as it stands."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import get_current_settings

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials

EXAMPLE = Path(__file__).parents[2] / "flows_examples" / "release_then_test.py"


@pytest.fixture(autouse=True)
def _prod(credentials: EmpiricalCredentials) -> None:
    """Save the block that the example loads."""
    credentials.save("prod", overwrite=True)


def test_the_id_is_in_the_final_state(
    empirical: Emulator, server: SyncPrefectClient, tmp_path: Path
) -> None:
    """Message and data of the state, read back from the server, hold the run that was started."""
    release_then_test = runpy.run_path(str(EXAMPLE))["release_then_test"]

    state = release_then_test(version="2.0.0", site_dir=str(tmp_path), return_state=True)

    (made,) = empirical.runs
    url = f"{empirical.url}/acme/test-runs/{made.id}"
    stored = server.read_flow_run(state.state_details.flow_run_id).state
    assert stored is not None
    assert stored.name == "Completed"
    assert stored.message == f"Empirical test run {made.id} queued: {url}"
    data = stored.result()
    assert (data["test_run"]["id"], data["test_run"]["url"]) == (made.id, url)
    assert (tmp_path / "index.html").read_text().endswith("<h1>Shop 2.0.0</h1>\n")
    assert json.loads((tmp_path / "release.json").read_text()) == {
        **data["build"],
        "test_run_id": made.id,
        "test_run_url": url,
    }
    assert made.body["build"] == {
        "url": "https://staging.example.com/2.0.0/",
        "version": "2.0.0",
        "commit": data["build"]["commit"],
    }
    assert made.body["metadata"]["release"] == "2.0.0"


@pytest.mark.seconds
def test_it_runs_as_a_script(empirical: Emulator, server: SyncPrefectClient) -> None:
    """In a process of its own, with its defaults, it prints the run and leaves it in the state."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)

    answer = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )

    (made,) = empirical.runs
    told = f"Empirical test run {made.id} queued: {empirical.url}/acme/test-runs/{made.id}"
    assert answer.stdout.strip() == told
    runs = server.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["release-then-test"]))
    )
    assert told in [each.state.message for each in runs if each.state]
