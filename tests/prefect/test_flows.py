"""The ready flow and the examples: what the final state says, and that each runs as it stands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import get_current_settings

from empirical_provider import TestsFailedError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob, run_empirical_tests

pytestmark = [pytest.mark.slow, pytest.mark.swift]

EXAMPLES = Path(__file__).parents[2] / "flows_examples"

EACH_AS_A_SCRIPT = """
import runpy, sys
for file in sys.argv[1:]:
    runpy.run_path(file, run_name="__main__")
    print("END OF SCRIPT", flush=True)
"""


@pytest.fixture(autouse=True)
def _prod(credentials: EmpiricalCredentials) -> None:
    """Save the block that the flows load."""
    credentials.save("prod", overwrite=True)


def _run(**parameters: Any) -> Any:
    call = {"credentials": "prod", "environment": "staging", "poll_interval": 0.05, **parameters}
    return run_empirical_tests(**call, return_state=True)


def test_green(empirical: Emulator, server: SyncPrefectClient) -> None:
    """The state on the server is Completed, names the run and its page, and holds the verdict."""
    empirical.script("staging", "passed", total=48)

    state = _run()

    (made,) = empirical.runs
    stored = server.read_flow_run(state.state_details.flow_run_id).state
    assert stored is not None
    assert stored.name == "Completed"
    assert stored.message == (
        f"Empirical test run {made.id} in staging passed: 48 of 48. "
        f"{empirical.url}/acme/test-runs/{made.id}"
    )
    verdict = stored.result()
    assert (verdict["run_id"], verdict["outcome"]) == (made.id, "passed")
    assert verdict["counts"]["total"] == 48


def test_red(empirical: Emulator, server: SyncPrefectClient) -> None:
    """The state on the server is Failed, and its message names the run and the failed tests."""
    empirical.script("staging", "failed", total=4, failed=1)

    state = _run()

    stored = server.read_flow_run(state.state_details.flow_run_id).state
    assert stored is not None
    assert stored.name == "Failed"
    message = stored.message or ""
    assert f"Empirical test run {empirical.runs[0].id} in staging failed: 1 of 4" in message
    assert "\n  - " in message
    with pytest.raises(TestsFailedError):
        state.result()


def test_skip(empirical: Emulator) -> None:
    """What the policy skips completes the flow, and the data says that it was skipped."""
    empirical.script("staging", "superseded")

    state = _run(policy={"superseded": "skip"})

    assert state.is_completed()
    assert state.result()["decision"] == "skip"
    assert "was superseded" in state.message


def test_it_can_be_deployed() -> None:
    """The entry point for prefect.yaml leads to the flow, and no parameter can hold a secret."""
    found = load_flow_from_entrypoint("empirical_provider.prefect.flows.run_empirical_tests")

    assert found.name == "run-empirical-tests"
    properties = found.parameters.properties
    assert "environment" in properties
    assert "environment_variables_overrides" not in properties
    assert properties["credentials"]["type"] == "string"


def test_the_gate_of_the_example(empirical: Emulator) -> None:
    """Green goes live, a superseded release does not, and red fails."""
    gate = runpy.run_path(str(EXAMPLES / "gate.py"))["gate"]

    assert gate(poll_interval=0.05).startswith(
        "Live at https://production.example.com/1.0.0/. Empirical test run"
    )
    assert empirical.runs[0].body["build"]["url"] == "https://staging.example.com/1.0.0/"
    empirical.script("staging", "superseded")
    assert gate(poll_interval=0.05).startswith("Not released. Empirical test run")
    empirical.script("staging", "failed")
    with pytest.raises(TestsFailedError):
        gate(poll_interval=0.05)


def test_the_shops_of_the_example_share_a_run(empirical: Emulator) -> None:
    """Two shops go live by one test run; another release has a run of its own."""
    promote = runpy.run_path(str(EXAMPLES / "one_run_per_release.py"))["promote"]

    told = [promote(shop, poll_interval=0.05) for shop in ("north", "south")]
    later = promote("north", "1.5.0", poll_interval=0.05)

    first, second = (f"Empirical test run {each.id} in staging" for each in empirical.runs)
    assert [
        each.startswith(f"The {shop} goes live: {first}")
        for each, shop in zip(told, ("north", "south"), strict=True)
    ] == [True] * 2
    assert second in later


def test_the_example_rolls_back_behind_a_red_gate(
    empirical: Emulator, server: SyncPrefectClient, eventually: Callable[..., Any]
) -> None:
    """Green promotes; red rolls back, and the flow fails by the verdict."""
    release = runpy.run_path(str(EXAMPLES / "promote_or_roll_back.py"))["promote_or_roll_back"]

    assert release(poll_interval=0.05).startswith("All users are on 1.0.0. Empirical test run")
    empirical.script("production", "failed", total=9, failed=2)
    state = release(poll_interval=0.05, return_state=True)

    assert "2 of 9 failed" in (state.message or "")
    this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))

    def ran() -> dict[str, str | None]:
        runs = server.read_task_runs(flow_run_filter=this)
        return {each.name.rpartition("-")[0]: each.state_name for each in runs}

    eventually(lambda: ran() == {"run-tests": "Failed", "roll_back": "Completed"})


def test_the_environments_of_the_example_have_a_gate_each(
    empirical: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Each environment is tested by a run of its own, and all that are red tell of it."""
    release = runpy.run_path(str(EXAMPLES / "matrix_of_environments.py"))["matrix_of_environments"]

    told = asyncio.run(release(poll_interval=0.05))

    assert sorted(each.body["environment"] for each in empirical.runs) == ["production", "staging"]
    assert all(f"Empirical test run {each.id} in" in told for each in empirical.runs)
    for environment in ("production", "staging"):
        empirical.script(environment, "failed", total=9, failed=2)
    with pytest.raises(TestsFailedError, match="in production failed: 2 of 9"):
        asyncio.run(release(poll_interval=0.05))
    for each in empirical.runs[2:]:
        assert f"Not live: Empirical test run {each.id} in" in caplog.text


def test_the_example_reruns_what_failed(empirical: Emulator) -> None:
    """One retry re-runs the red tests: green then, the release goes live; red again, it fails."""
    release = runpy.run_path(str(EXAMPLES / "rerun_failures.py"))["rerun_failures"]
    empirical.script("staging", "failed", total=9, failed=2, runs=1)

    told = release(poll_interval=0.05)

    red, again = empirical.runs
    assert f"run {again.id} (a re-run of {red.id}) in staging passed" in told
    assert (again.rerun_source_id, again.rerun_only_failed) == (red.id, True)
    empirical.script("staging", "failed", total=9, failed=2)
    with pytest.raises(TestsFailedError):
        release(poll_interval=0.05)
    assert len(empirical.runs) == 4


def test_the_subflow_of_the_example_goes_on_with_its_run(empirical: Emulator) -> None:
    """A run in error is followed by a new one, and failed tests fail the flow at once."""
    release = runpy.run_path(str(EXAMPLES / "subflow_with_retries.py"))["subflow_with_retries"]
    empirical.script("staging", "error", runs=1)

    assert release(poll_interval=0.05).startswith("All users are on 1.0.0. Empirical test run")
    assert len(empirical.runs) == 2
    empirical.script("staging", "failed", total=9, failed=2)
    with pytest.raises(TestsFailedError):
        release(poll_interval=0.05)
    assert len(empirical.runs) == 3


def test_the_mapped_gates_of_the_example_fail_the_flow(empirical: Emulator) -> None:
    """One red environment keeps the release from going live."""
    release = runpy.run_path(str(EXAMPLES / "mapped_environments.py"))["mapped_environments"]
    empirical.script("staging", "failed", total=9, failed=2)

    with pytest.raises(TestsFailedError, match="in staging failed: 2 of 9"):
        release(poll_interval=0.05)
    assert sorted(each.body["environment"] for each in empirical.runs) == ["production", "staging"]


def test_the_examples_run_as_scripts(empirical: Emulator, tmp_path: Path) -> None:
    """With their defaults, but for the pause between two looks, they print what became of it."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    last_lines = {
        "gate": "Live at",
        "job_block": "Empirical test run",
        "shared_job": "Empirical test run",  # of the block that job_block has saved
        "mapped_environments": "Live: Empirical test run",
        "matrix_of_environments": "Live: Empirical test run",
        "one_run_per_release": "The south goes live",
        "promote_or_roll_back": "All users are on 1.0.0.",
        "report": "Live: 0 of ",
        "rerun_failures": "Live. Empirical test run",
        "subflow_with_retries": "All users are on 1.0.0. Empirical test run",
        "trigger_then_promote": "All users are on 1.0.0: What is new in 1.0.0. Empirical test run",
    }
    for name in last_lines:
        source = (EXAMPLES / f"{name}.py").read_text()
        quick = tmp_path / f"{name}.py"
        quick.write_text(
            source.replace("poll_interval: float = 10.0", "poll_interval: float = 0.05").replace(
                "poll_interval=10,", "poll_interval=0.05,"
            )
        )
        assert quick.read_text() != source or name == "shared_job"  # its block has the interval

    done = subprocess.run(
        [sys.executable, "-c", EACH_AS_A_SCRIPT, *(f"{tmp_path}/{name}.py" for name in last_lines)],
        env={**os.environ, **settings, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split("END OF SCRIPT\n")[:-1]
    assert len(outputs) == len(last_lines)
    for output, last_line in zip(outputs, last_lines.values(), strict=True):
        assert output.splitlines()[-1].startswith(last_line)
    passed = re.findall(r"run (\d+)(?: \(.*?\))? in (\w+) passed", done.stdout)
    runs = {str(each.id): each.body["environment"] for each in empirical.runs}
    assert len(dict(passed)) >= len(last_lines)
    assert {run_id: runs[run_id] for run_id in dict(passed)} == dict(passed)
    assert EmpiricalTestJob.load("smoke").tags == ["@smoke"]


def test_the_served_example(
    empirical: Emulator, server: SyncPrefectClient, eventually: Callable[..., Any]
) -> None:
    """In a process of its own it serves the ready flow, and the deployment's parameters fit."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    serving = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "deployment.py")],
        env={**os.environ, **settings, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def deployed() -> Any:
        with contextlib.suppress(ObjectNotFound):
            return server.read_deployment_by_name("run-empirical-tests/staging-gate")
        return None

    def ended() -> Any:
        state = server.read_flow_run(run.id).state
        return state if state and state.is_final() else None

    try:
        run = server.create_flow_run_from_deployment(
            eventually(deployed).id, parameters={"poll_interval": 0.05}
        )
        state = eventually(ended)
    finally:
        serving.terminate()
        serving.wait(timeout=240)
    assert state.name == "Completed", state.message
    assert f"run {empirical.runs[0].id} in staging passed" in state.message
