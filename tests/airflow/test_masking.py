"""What the service says of a run does not carry the values of its overrides into Airflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider.airflow import exceptions as host
from empirical_provider.airflow.rendered import HiddenValues
from tests.airflow.standins import AirflowFailException, TaskInstance, gate, run

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator

pytestmark = pytest.mark.usefixtures("connection", "at_once")

VALUE = "override-value-3b9e77c1"
OVERRIDES: list[Any] = [
    {"TOKEN": VALUE, "ENVIRONMENT": "staging"},
    [{"name": "TOKEN", "value": VALUE}, {"name": "ENVIRONMENT", "value": "staging"}],
    HiddenValues({"TOKEN": VALUE, "ENVIRONMENT": "staging"}),
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=["mapping", "list", "rendered"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_gate_masks_what_a_run_says_of_its_overrides(
    deferrable: bool,
    overrides: Any,
    empirical: Emulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error code that repeats a value is masked in XComs, exception, report and the task's log,
    also where the triggerer, which knows no value, has read it. What is said openly stays."""
    empirical.script("staging", "error", error_code=f"signed in with {VALUE}")
    ti = TaskInstance()
    task = gate(
        deferrable=deferrable,
        environment_variables_overrides=overrides,
        report_path=str(tmp_path / "report.json"),
    )
    with pytest.raises(host.EmpiricalRunErroredError) as error:
        run(task, ti)
    assert ti.xcoms["verdict"]["error_code"] == "signed in with ***"
    assert ti.xcoms["verdict"]["environment"] in {"staging", None}
    report = (tmp_path / "report.json").read_text()
    assert "signed in with ***" in report
    log = "".join(
        each.getMessage()
        for each in caplog.get_records("call")
        if each.levelno >= logging.INFO and "trigger" not in each.name
    )
    for told in (str(ti.xcoms), report, f"{error.value} {vars(error.value)}", log):
        assert VALUE not in told


def test_an_event_of_an_error_is_masked(empirical: Emulator) -> None:
    """The words of an error that the triggerer hands over are masked, too."""
    message = f'answered 401: "{VALUE}"'
    task = gate(deferrable=True, environment_variables_overrides={"TOKEN": VALUE})
    ti = TaskInstance()
    ti.xcom_push("test_run_id", 5)
    with pytest.raises(AirflowFailException, match="answered 401") as error:
        task.execute_complete(
            {"ti": ti, "logical_date": None},
            {"status": "error", "kind": "authentication", "message": message},
        )
    assert VALUE not in f"{error.value} {error.value.__cause__}"
    assert empirical.requests == []
