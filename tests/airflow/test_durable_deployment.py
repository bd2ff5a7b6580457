"""One run for a task in a whole Airflow: its process is killed, or a person clears or ends it.

With Airflow 3.3 and later the task state store tells a retry of the try before; with older ones the
retry looks its run up. All DAG runs are started at once; each test waits for its own.
"""

from __future__ import annotations

import os
import signal
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator
from tests.airflow.deployment import Deployment, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.emulator import RunSnapshot

KEY = "emp-key-77ab1c0e52"
MODES = ("trigger-only", "sync", "deferrable")
CRASHES = [f"{point}-{mode}" for point, mode in product(("unsent", "unsaved"), MODES)]
MUTE = [f"unanswered-{mode}" for mode in MODES]
PERSONS = {"again": "passed", "deferred": "stuck", "ended": "stuck", "restarted": "stuck"}
CROWD = 20
SLOTS = 6

AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))

pytestmark = [
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="older ones are run in process only"),
    pytest.mark.timeout(300),
    pytest.mark.deployment,
]


def local(environments: dict[str, str]) -> Emulator:
    """Return a local Empirical that shows on a run's page what it was started for."""
    emulator = Emulator(
        api_keys=[KEY], environments=environments, advance="time", state_seconds=1.0
    )
    emulator.behave(echo_in_detail=emulator.behaviour.echo_in_detail | {"metadata"})
    return emulator


@pytest.fixture(scope="module")
def calm() -> Iterator[Emulator]:
    """Return a local Empirical that answers."""
    ends = {**dict.fromkeys(CRASHES, "passed"), **PERSONS, "shared": "stuck"}
    with local(ends) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def mute() -> Iterator[Emulator]:
    """Return a local Empirical that starts a run for each mode without telling in time."""
    with local(dict.fromkeys(MUTE, "passed")) as emulator:
        emulator.fault("trigger", "delay", when="after", delay=50, times=len(MUTE))
        yield emulator


@pytest.fixture(scope="module")
def deployment(calm: Emulator, mute: Emulator) -> Iterator[Deployment]:
    """Return a deployment in which every scenario has begun."""
    with Deployment(Path(__file__).parent / "deployed_durable", slots=SLOTS) as airflow:
        for name, emulator in (("empirical_default", calm), ("mute", mute)):
            airflow.connect(name, conn_type="empirical", password=KEY, host=emulator.url)
        scenarios = [*MUTE, *PERSONS, *CRASHES]
        until("the DAGs are parsed", lambda: airflow.known(*scenarios, "shared"))
        for dag_id in scenarios:
            airflow.trigger(dag_id)
        yield airflow


def runs_in(emulator: Emulator, environment: str) -> list[RunSnapshot]:
    return [run for run in emulator.runs if run.body["environment"] == environment]


def is_complete(deployment: Deployment, dag_id: str, run: RunSnapshot) -> None:
    """Check that a gate that has crashed once tells all of the one run."""
    gate = deployment.ended(dag_id, 150)
    assert (gate["state"], gate["try_number"]) == ("success", 2), deployment.log(dag_id)
    for key in ("return_value", "test_run_id"):
        assert deployment.xcom(dag_id, key) == run.id
    assert f"/acme/test-runs/{run.id}" in deployment.xcom(dag_id, "test_run_url")
    if "trigger-only" not in dag_id:
        verdict = deployment.xcom(dag_id, "verdict")
        assert (verdict["run_id"], verdict["outcome"]) == (run.id, "passed")


@pytest.mark.parametrize("dag_id", MUTE)
def test_a_worker_killed_before_the_answer_leaves_one_run(
    dag_id: str, deployment: Deployment, mute: Emulator
) -> None:
    """The service has acted, and the process is killed while it waits for the answer."""
    until(f"{dag_id} has started a run", lambda: runs_in(mute, dag_id), 120)
    [gate] = deployment.tasks(dag_id)
    assert gate["state"] == "running"
    os.kill(gate["pid"], signal.SIGKILL)
    is_complete(deployment, dag_id, runs_in(mute, dag_id)[0])
    assert len(runs_in(mute, dag_id)) == 1


@pytest.mark.parametrize("dag_id", CRASHES)
def test_a_worker_killed_before_the_request_or_the_saving_leaves_one_run(
    dag_id: str, deployment: Deployment, calm: Emulator
) -> None:
    """The process is killed before the request is sent, or after the answer with the id unsaved."""
    assert deployment.ended(dag_id, 150)
    [run] = runs_in(calm, dag_id)
    is_complete(deployment, dag_id, run)
    sent = [each for each in calm.requests if each.endpoint == "trigger"]
    assert [each.body["environment"] for each in sent].count(dag_id) == 1


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="there is no task state store before")
@pytest.mark.parametrize("dag_id", [*MUTE, *CRASHES])
def test_the_store_keeps_what_the_next_try_needs(
    dag_id: str, deployment: Deployment, calm: Emulator, mute: Emulator
) -> None:
    """Airflow's store holds the id of the run: it takes what the core saves, as it is."""
    deployment.ended(dag_id, 150)
    gate = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/gate"
    kept = deployment.api("GET", f"{gate}/state-store/empirical_test_run")["value"]
    [run] = runs_in(mute if dag_id in MUTE else calm, dag_id)
    assert (kept["generation"], kept["record"]["run_id"]) == (2, run.id)


def test_a_clear_after_success_starts_a_fresh_run(deployment: Deployment, calm: Emulator) -> None:
    """The verdict is the new run's: it is red where the old one was green."""
    assert deployment.ended("again", 150)["state"] == "success"
    [first] = runs_in(calm, "again")
    calm.script("again", "failed")
    deployment.clear("again")
    until("there is a second run", lambda: len(runs_in(calm, "again")) > 1, 60)
    gate = deployment.ended("again")
    assert (gate["state"], gate["try_number"]) == ("failed", 2)
    second = runs_in(calm, "again")[-1]
    verdict = deployment.xcom("again", "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (second.id, "failed")
    assert [run.id for run in runs_in(calm, "again")] == [first.id, second.id]


def test_a_clear_of_a_deferred_task_starts_a_fresh_run(
    deployment: Deployment, calm: Emulator
) -> None:
    """The old run is cancelled, where Airflow tells the trigger; the gate opens on the new one."""

    def looked_at(run_id: int) -> bool:  # a trigger that is not running cannot be told
        asked = [each.path for each in calm.requests if each.endpoint == "get_test_run"]
        return asked.count(f"/api/test-runs/{run_id}") > 1

    until("the gate is deferred", lambda: deployment.states("deferred") == ["deferred"], 150)
    [first] = runs_in(calm, "deferred")
    until("the trigger looks at the run", lambda: looked_at(first.id))
    deployment.clear("deferred")
    until("there is a second run", lambda: len(runs_in(calm, "deferred")) > 1, 60)
    if AIRFLOW >= (3, 3):
        until("the old run is cancelled", lambda: runs_in(calm, "deferred")[0].state == "cancelled")
    second = runs_in(calm, "deferred")[-1]
    until("the gate is deferred again", lambda: deployment.states("deferred") == ["deferred"])
    calm.set_state(second.id, "ended")
    assert deployment.ended("deferred")["state"] == "success"
    assert deployment.xcom("deferred", "verdict")["run_id"] == second.id
    assert len(runs_in(calm, "deferred")) == 2


def waited_for(emulator: Emulator, environment: str) -> list[RunSnapshot]:
    """Return the runs of an environment that somebody has looked at, as who waits does."""
    asked = {each.path for each in emulator.requests if each.endpoint == "get_test_run"}
    runs = runs_in(emulator, environment)
    return [run for run in runs if f"/api/test-runs/{run.id}" in asked]


def test_a_person_who_ends_a_task_that_waits_in_a_worker_cancels_the_run(
    deployment: Deployment, calm: Emulator
) -> None:
    """Marking the running task failed through the REST API cancels the remote run, once."""
    [run] = until("the worker waits", lambda: waited_for(calm, "ended"), 150)
    assert deployment.states("ended") == ["running"]
    deployment.set_state("ended", "failed")
    until("the run is cancelled", lambda: runs_in(calm, "ended")[0].state == "cancelled", 30)
    assert deployment.states("ended") == ["failed"]
    asked = [each.path for each in calm.requests if each.endpoint == "cancel_test_run"]
    assert [path.split("/")[3] for path in asked].count(str(run.id)) == 1
    assert len(runs_in(calm, "ended")) == 1


def test_a_clear_of_a_task_that_waits_in_a_worker_starts_a_fresh_run(
    deployment: Deployment, calm: Emulator
) -> None:
    """The old run is cancelled and the gate opens on the new one, whether or not this Airflow
    counts the clear as one: not all of them do while a task is running."""
    [first] = until("the worker waits", lambda: waited_for(calm, "restarted"), 150)
    deployment.clear("restarted")
    until("there is a second run", lambda: len(runs_in(calm, "restarted")) > 1, 90)
    assert runs_in(calm, "restarted")[0].state in {"cancelling", "cancelled"}
    second = runs_in(calm, "restarted")[-1]
    calm.set_state(second.id, "ended")
    assert deployment.ended("restarted")["state"] == "success"
    assert deployment.xcom("restarted", "verdict")["run_id"] == second.id
    assert [run.id for run in runs_in(calm, "restarted")] == [first.id, second.id]


def test_twenty_tasks_with_one_key_share_one_run(deployment: Deployment, calm: Emulator) -> None:
    """Those that start at once agree on a run, which ends while they wait; those that come later
    go on with it: one run is left, and twenty verdicts."""
    deployment.trigger("shared")

    def agreed() -> list[RunSnapshot]:
        alive = [run for run in runs_in(calm, "shared") if not run.state.startswith("cancel")]
        asked = [each.path for each in calm.requests if each.endpoint == "get_test_run"]
        waiting = sum(asked.count(f"/api/test-runs/{run.id}") for run in alive) > 2 * SLOTS
        return alive if len(alive) == 1 and waiting else []

    [run] = until("several wait for one run", agreed, 120)
    calm.set_state(run.id, "ended")
    until("all are done", lambda: deployment.states("shared") == ["success"] * CROWD, 200)
    verdicts = [deployment.xcom("shared", "verdict", index) for index in range(CROWD)]
    assert {(each["run_id"], each["outcome"]) for each in verdicts} == {(run.id, "passed")}
    assert {other.state for other in runs_in(calm, "shared") if other.id != run.id} <= {"cancelled"}
