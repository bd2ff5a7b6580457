"""What the service says of a run does not carry the values of its overrides into Prefect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from pydantic import SecretStr

from empirical_provider import RunErroredError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob

if TYPE_CHECKING:
    from conftest import Twin

VALUE = "override-value-3b9e77c1"
OVERRIDES: list[Any] = [
    {"TOKEN": VALUE},
    {"TOKEN": SecretStr(VALUE)},
    [{"name": "TOKEN", "value": VALUE}],
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=["text", "SecretStr", "list"])
def test_a_gate_masks_what_a_run_says_of_its_overrides(  # noqa: PLR0917  # fixtures, by name
    overrides: Any,
    running: Twin,
    gate: dict[str, Any],
    empirical: Emulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error code that repeats a value is masked in verdict, exception, report and log."""
    empirical.script("staging", "error", error_code=f"signed in with {VALUE}")
    path = tmp_path / "report.json"
    with pytest.raises(RunErroredError) as error:
        running.without_prefect(
            **gate, environment_variables_overrides=overrides, report_path=str(path)
        )
    assert error.value.verdict is not None
    assert error.value.verdict["error_code"] == "signed in with ***"
    assert "signed in with ***" in path.read_text()
    for told in (json.dumps(error.value.verdict), str(error.value), path.read_text(), caplog.text):
        assert VALUE not in told


def test_an_artifact_holds_no_value(
    running: Twin, gate: dict[str, Any], empirical: Emulator, server: SyncPrefectClient
) -> None:
    """Nor does what Prefect's pages show."""
    empirical.script("staging", "error", error_code=f"signed in with {VALUE}")
    state = running.in_flow({**gate, "environment_variables_overrides": {"TOKEN": VALUE}})
    ours = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    found = server.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ours))
    told = "".join(each.model_dump_json() for each in found)
    assert "signed in with" in told
    assert VALUE not in f"{told} {state!r} {state.message}"


def test_a_job_masks_what_its_run_says(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A handle on a run that a job has started knows the values; it takes them nowhere."""
    empirical.script("staging", "error", error_code=f"signed in with {VALUE}")
    job = EmpiricalTestJob(credentials=credentials, environment="staging", poll_interval=0.01)
    run = job.trigger(environment_variables_overrides={"TOKEN": SecretStr(VALUE)})
    with pytest.raises(RunErroredError) as error:
        run.wait_for_completion()
    assert "signed in with ***" in str(error.value)
    assert VALUE not in f"{run.fetch_result()} {run!r} {run.__getstate__()}"


def test_the_copy_that_masks_is_the_block_in_all_else(credentials: EmpiricalCredentials) -> None:
    """Its fields are the same, and what it masks is not among them."""
    credentials.save("masking-in-tests", overwrite=True)
    copy = credentials._masking([VALUE])
    assert copy.saved_name == credentials.saved_name == "masking-in-tests"
    assert copy.model_dump() == credentials.model_dump()
    assert VALUE not in f"{copy!r} {copy.model_dump()} {copy.model_dump_json()}"
    with copy.get_client() as client:
        assert client._settings.secrets == (VALUE,)
