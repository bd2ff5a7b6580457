"""Deferred gates in a whole Airflow 3.3 with one worker slot.

All DAG runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator
from tests.airflow.conftest import HOME
from tests.airflow.deployment import Deployment, seconds, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CROWD = 10
DAGS = ("storm", "limited", "green", "red", "killed", "sensed", "abandoned")
OUTAGE = 60.0
KEY = "emp-key-2c90e4d1f7"

pytestmark = [
    pytest.mark.skipif(
        tuple(map(int, version("apache-airflow").split(".")[:2])) < (3, 3),
        reason="only Airflow 3.3 tells a trigger that a person has ended its task; older versions "
        "run the gate through `airflow dags test`",
    ),
    pytest.mark.timeout(200),
    pytest.mark.deployment,
]


@pytest.fixture(scope="module")
def calm() -> Iterator[Emulator]:
    """Return a local Empirical that answers well; runs in its environments end as they say."""
    environments = {
        "green": "passed",
        "sensed": "stuck",
        "red": "failed",
        "killed": "stuck",
        "limited": "stuck",
        "abandoned": "stuck",
        "crowd": "stuck",
    }
    with Emulator(api_keys=[KEY], environments=environments, advance="time") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def stormy() -> Iterator[Emulator]:
    """Return a local Empirical that starts runs, but cannot be looked at from then on."""
    with Emulator(api_keys=[KEY], environments={"storm": "passed"}, advance="time") as emulator:
        emulator.fault("get_test_run", "status", status=503, times=None)
        yield emulator


@pytest.fixture(scope="module")
def deployment(calm: Emulator, stormy: Emulator) -> Iterator[Deployment]:
    """Return a deployment in which every scenario has begun."""
    assert HOME.exists()  # its settings stand in the environment; the deployment has its own
    with Deployment(Path(__file__).parent / "deployed") as airflow:
        for name, emulator in (("empirical_default", calm), ("stormy", stormy)):
            airflow.connect(name, conn_type="empirical", password=KEY, host=emulator.url)
        until("the DAGs are parsed", lambda: airflow.known(*DAGS, "crowd"))
        for dag_id in DAGS:
            airflow.trigger(dag_id)
        yield airflow


def deferred(airflow: Deployment, dag_id: str, count: int = 1, limit: float = 60.0) -> None:
    until(
        f"{count} x {dag_id} deferred",
        lambda: airflow.states(dag_id).count("deferred") == count,
        limit,
    )


def run_in(emulator: Emulator, environment: str) -> int:
    [run] = [run for run in emulator.runs if run.body["environment"] == environment]
    return run.id


def test_a_person_who_marks_the_task_failed_cancels_the_run(
    deployment: Deployment, calm: Emulator
) -> None:
    """Marking the deferred task failed through the REST API cancels the remote run, at once."""
    deferred(deployment, "killed")
    run_id = run_in(calm, "killed")

    def polled() -> bool:  # so the trigger is running: a trigger that is not cannot be told
        asked = [each for each in calm.requests if each.endpoint == "get_test_run"]
        return sum(each.path.endswith(f"/{run_id}") for each in asked) > 1

    until("the trigger looks at the run", polled)
    deployment.set_state("killed", "failed")
    began = time.monotonic()

    def cancelled() -> bool:
        state = next(run.state for run in calm.runs if run.id == run_id)
        return state in {"cancelling", "cancelled"}

    until("the run is cancelled", cancelled, 30)
    assert time.monotonic() - began < 10
    assert deployment.states("killed") == ["failed"]
    cancels = [each for each in calm.requests if each.endpoint == "cancel_test_run"]
    assert [each.path.split("/")[3] for each in cancels].count(str(run_id)) == 1


def test_a_quick_task_finishes_before_the_gates_that_wait(
    deployment: Deployment, calm: Emulator
) -> None:
    """With one worker slot in all, ten waiting gates leave it to a task that came after them."""
    deployment.trigger("crowd")
    deferred(deployment, "crowd", CROWD, 150)
    until("quick is done", lambda: deployment.states("crowd", "quick") == ["success"])
    assert deployment.states("crowd") == ["deferred"] * CROWD
    [quick] = deployment.tasks("crowd", "quick")
    for run in calm.runs:
        if run.body["environment"] == "crowd":
            calm.set_state(run.id, "ended")
    until("the gates open", lambda: deployment.states("crowd") == ["success"] * CROWD, 120)
    first = min(datetime.fromisoformat(each["end_date"]) for each in deployment.tasks("crowd"))
    assert datetime.fromisoformat(quick["end_date"]) < first


def test_a_green_gate_opens(deployment: Deployment, calm: Emulator) -> None:
    """A deferred gate ends in success with run and verdict in XCom and in its asset's event."""
    assert deployment.ended("green")["state"] == "success"
    run_id = run_in(calm, "green")
    assert deployment.xcom("green", "return_value") == run_id
    verdict = deployment.xcom("green", "verdict")
    assert verdict["outcome"] == "passed"
    [event] = deployment.api("GET", "/api/v2/assets/events")["asset_events"]
    assert event["extra"] == {
        "test_run_id": run_id,
        "test_run_url": verdict["url"],
        "outcome": "passed",
        "counts": verdict["counts"],
    }
    log = deployment.log("green")
    assert f"/acme/test-runs/{run_id}" in log
    assert "Verdict: passed, so the gate says pass. Tests: " in log


def test_a_sensor_in_mode_reschedule_opens(deployment: Deployment, calm: Emulator) -> None:
    """The sensor has itself rescheduled, and opens once the run has finished."""
    waits = ["up_for_reschedule"]
    until("the sensor waits", lambda: deployment.states("sensed") == waits, limit=120)
    calm.set_state(run_in(calm, "sensed"), "ended")
    assert deployment.ended("sensed")["state"] == "success"
    verdict = deployment.xcom("sensed", "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (run_in(calm, "sensed"), "passed")


def test_a_red_gate_fails_without_a_retry(deployment: Deployment, calm: Emulator) -> None:
    """Failed tests fail the task in its first try, although it has retries, and name the tests."""
    gate = deployment.ended("red")
    assert (gate["state"], gate["try_number"], gate["max_tries"]) == ("failed", 1, 2)
    run_id = run_in(calm, "red")
    verdict = deployment.xcom("red", "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (run_id, "failed")
    log = deployment.log("red")
    assert f"Empirical test run {run_id} in red failed" in log
    assert verdict["failed_tests"][0] in log


def test_execution_timeout_ends_a_deferred_gate(deployment: Deployment, calm: Emulator) -> None:
    """A limit of 20 s ends the gate within 30 s of it, and the log names the run and its page."""
    gate = deployment.ended("limited")
    assert gate["state"] == "failed"
    assert 17 <= seconds(gate) <= 50
    log, run_id = deployment.log("limited"), run_in(calm, "limited")
    assert f"Empirical test run {run_id}" in log
    assert "was not waited for any longer" in log
    assert f"{calm.url}/acme/test-runs/{run_id}" in log
    assert next(run.state for run in calm.runs if run.id == run_id) == "started"


def test_airflows_own_time_out_of_a_deferral_names_the_run(
    deployment: Deployment, calm: Emulator
) -> None:
    """A gate whose trigger does nothing is ended by Airflow, takes a last look, and says so."""
    gate = deployment.ended("abandoned")
    assert gate["state"] == "failed"
    log, run_id = deployment.log("abandoned"), run_in(calm, "abandoned")
    assert "the deferral failed: Trigger timeout" in log
    assert f"{calm.url}/acme/test-runs/{run_id}" in log
    assert "and the time-out is 10 s" in log
    assert deployment.xcom("abandoned", "verdict")["outcome"] == "timed_out"


def test_an_outage_of_a_minute_is_survived(deployment: Deployment, stormy: Emulator) -> None:
    """A minute of 503 and then malformed JSON do not fail a gate: it opens in its first try."""

    [run] = until("the run is started", lambda: stormy.runs)
    began = datetime.fromisoformat(run.created_at)
    until("a minute is over", lambda: (datetime.now(UTC) - began).total_seconds() > OUTAGE, 90)
    assert deployment.states("storm") == ["deferred"]
    assert [each.endpoint for each in stormy.requests].count("get_test_run") > OUTAGE / 3
    stormy.clear_faults()
    stormy.fault("get_test_run", "malformed", times=2)
    gate = deployment.ended("storm")
    assert (gate["state"], gate["try_number"]) == ("success", 1)
    assert deployment.xcom("storm", "verdict")["outcome"] == "passed"
    assert len(stormy.runs) == 1
    log = deployment.log("storm")
    for told in ("503", "JSON", "can be read again"):
        assert told in log


def test_the_key_is_left_nowhere(deployment: Deployment) -> None:
    """Neither a log nor the output of a process nor the database holds the key in plain text."""
    searched = [path for path in deployment.home.rglob("*") if path.is_file()]
    assert any("task_id=gate" in str(path) for path in searched)
    assert [path for path in searched if KEY.encode() in path.read_bytes()] == []
