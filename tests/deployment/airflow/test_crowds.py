"""Many gates at once: more than there are slots, one for each of many places, many for one run."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.deployment.airflow.conftest import KEY, SLOTS, serving
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.emulator import RunSnapshot
    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

pytestmark = pytest.mark.extended

WAITING = 10
PLACES = [f"place-{number:02}" for number in range(20)]
RED = "place-07"
SHARING = 20


@pytest.fixture(scope="module")
def service(deployment: Deployment) -> Iterator[Service]:
    """Return the service of these DAGs."""
    ends = {**dict.fromkeys(PLACES, "passed"), RED: "failed"}
    with serving({"waiting": "stuck", "sharing": "stuck", **ends}) as service:
        deployment.connect("crowds", password=KEY, host=service.url)
        yield service


@pytest.mark.scenario("ten gates wait, and no slot is taken")
def test_a_quick_task_finishes_before_the_gates_that_wait(
    deployment: Deployment, service: Service
) -> None:
    """More waiting gates than there are slots leave all of them to a task that came after them."""
    assert WAITING > SLOTS
    deployment.trigger("waiting")
    deployment.waits_deferred("waiting", WAITING)
    until("quick is done", lambda: deployment.states("waiting", "quick") == ["success"])
    assert deployment.states("waiting") == ["deferred"] * WAITING
    [quick] = deployment.tasks("waiting", "quick")
    for run in service.runs_in("waiting"):
        service.set_state(run.id, "ended")
    until("the gates open", lambda: deployment.states("waiting") == ["success"] * WAITING)
    first = min(datetime.fromisoformat(each["end_date"]) for each in deployment.tasks("waiting"))
    assert datetime.fromisoformat(quick["end_date"]) < first
    assert service.sent("waiting") == WAITING


@pytest.mark.scenario("a task mapped over twenty environments")
def test_each_mapped_gate_has_its_own_run(deployment: Deployment, service: Service) -> None:
    """Twenty environments have a run and a verdict each, and only the red one fails."""
    deployment.trigger("places")
    ended = {"success", "failed"}

    def look() -> bool:
        states = deployment.states("places")
        return len(states) == len(PLACES) and ended.issuperset(states)

    until("all have ended", look)
    for task in deployment.tasks("places"):
        place = PLACES[task["map_index"]]
        run = service.the_run_in(place)
        verdict = deployment.xcom("places", "verdict", task["map_index"])
        outcome, state = ("failed", "failed") if place == RED else ("passed", "success")
        assert (verdict["run_id"], verdict["outcome"], run.state) == (run.id, outcome, "ended")
        assert (task["state"], service.sent(place)) == (state, 1)


@pytest.mark.scenario("twenty tasks with one key")
def test_twenty_tasks_with_one_key_share_one_run(deployment: Deployment, service: Service) -> None:
    """Those that start at once agree on a run, which ends while they wait; those that come later
    go on with it: one run is left, and twenty verdicts."""
    deployment.trigger("sharing")

    def agreed() -> list[RunSnapshot]:
        runs = service.runs_in("sharing")
        alive = [run for run in runs if not run.state.startswith("cancel")]
        return alive if len(alive) == 1 and service.looks("sharing") > 2 * SLOTS else []

    [run] = until("several wait for one run", agreed)
    service.set_state(run.id, "ended")
    until("all are done", lambda: deployment.states("sharing") == ["success"] * SHARING)
    verdicts = [deployment.xcom("sharing", "verdict", index) for index in range(SHARING)]
    assert {(each["run_id"], each["outcome"]) for each in verdicts} == {(run.id, "passed")}
    others = [each for each in service.runs_in("sharing") if each.id != run.id]
    assert {each.state for each in others} <= {"cancelled"}
