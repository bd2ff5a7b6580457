"""An Airflow on PostgreSQL with two triggerers loses its processes while gates are deferred.

All DAG runs are started at once, so each gate goes through all that comes before its own test.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.deployment.airflow.conftest import DAGS, KEY, SECRET, serving
from tests.deployment.airflow.host import Deployment
from tests.deployment.leaks import files_with, rows_with
from tests.deployment.postgres import postgres, run_in_postgres, tables_of_postgres
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service

pytestmark = pytest.mark.extended

GATES = ("triggerer-killed-of-two", "triggerers-terminated", "scheduler-restarted", "taken-over")
TRIGGERERS = ("triggerer", "triggerer-2")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return the address of an empty database."""
    with postgres() as address:
        yield address


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Return the service of these DAGs."""
    with serving(dict.fromkeys(GATES, "stuck")) as service:
        yield service


@pytest.fixture(scope="module")
def two(address: str, service: Service) -> Iterator[Deployment]:
    """Return an Airflow with two triggerers, in which all gates have begun to wait."""
    with Deployment(DAGS, database=f"postgresql+psycopg2://{address}", triggerers=2) as airflow:
        airflow.set_variable("flavour", SECRET)
        airflow.connect("processes", password=KEY, host=service.url)
        airflow.trigger(*GATES)
        until("all wait", lambda: all(service.watched(dag_id) > 1 for dag_id in GATES))
        yield airflow


def goes_on(service: Service, dag_id: str) -> None:
    """Wait until the run of a gate is looked at again."""
    looks = service.watched(dag_id)

    def looked() -> bool:
        assert (service.the_run_in(dag_id).state, service.cancels(dag_id)) == ("started", 0)
        return service.watched(dag_id) > looks + 1

    until("it is looked at again", looked)


def opens(two: Deployment, service: Service, dag_id: str) -> None:
    """Check that a gate goes by the one run that it has started."""
    gate = two.ended(dag_id)
    assert (gate["state"], gate["try_number"]) == ("success", 1), two.log(dag_id)
    run = service.the_run_in(dag_id)
    assert (run.state, service.sent(dag_id), service.cancels(dag_id)) == ("ended", 1, 0)
    verdict = two.xcom(dag_id, "verdict")
    assert (verdict["run_id"], verdict["outcome"]) == (run.id, "passed")


@pytest.mark.scenario("two triggerers, either SIGKILLed")
def test_the_other_triggerer_takes_over(two: Deployment, service: Service) -> None:
    """Whichever of two triggerers is killed, the one that is left goes on waiting."""
    dag_id = GATES[0]
    for killed in TRIGGERERS:
        two.kill(killed, signal.SIGKILL)
        goes_on(service, dag_id)
        two.again(killed)
        until("it is up again", two.healthy)
    service.set_state(service.the_run_in(dag_id).id, "ended")
    opens(two, service, dag_id)


@pytest.mark.scenario("gate, deferrable: triggerer SIGTERM")
def test_triggerers_that_are_shut_down_leave_the_run_alone(
    two: Deployment, service: Service
) -> None:
    """A deployment of a new version, say: the run goes on meanwhile, and so does the wait after."""
    dag_id = GATES[1]
    for name in TRIGGERERS:
        two.kill(name, signal.SIGTERM)
    for name in TRIGGERERS:
        two.again(name)
    goes_on(service, dag_id)
    service.set_state(service.the_run_in(dag_id).id, "ended")
    opens(two, service, dag_id)


@pytest.mark.scenario("scheduler restart mid-wait")
def test_a_run_that_ends_while_the_scheduler_is_away_is_gone_by(
    two: Deployment, service: Service
) -> None:
    """The verdict comes while nobody schedules, and the gate opens once somebody does again."""
    dag_id = GATES[2]
    goes_on(service, dag_id)
    two.kill("scheduler", signal.SIGTERM)
    service.set_state(service.the_run_in(dag_id).id, "ended")
    until("the trigger has fired", lambda: two.states(dag_id) == ["scheduled"])
    two.again("scheduler")
    opens(two, service, dag_id)


@pytest.mark.scenario("a triggerer takes over from one that is alive")
def test_a_trigger_that_is_taken_over_leaves_the_run_alone(
    two: Deployment, service: Service, address: str
) -> None:
    """A triggerer that has seemed dead for a while, say because the machine is busy, loses its
    trigger to another one and is told to kill it: the run goes on, and so does the wait."""
    dag_id = GATES[3]
    goes_on(service, dag_id)
    moved = run_in_postgres(
        address,
        # Those that were killed above may still be called running: the other beats.
        """UPDATE trigger SET triggerer_id = (
               SELECT id FROM job WHERE job_type = 'TriggererJob' AND id <> triggerer_id
               ORDER BY latest_heartbeat DESC LIMIT 1)
           FROM task_instance AS ti WHERE ti.dag_id = %s AND ti.trigger_id = trigger.id""",
        dag_id,
    )
    assert moved == 1
    until("the first has let go", lambda: "Another triggerer waits" in two.log(dag_id))
    goes_on(service, dag_id)
    service.set_state(service.the_run_in(dag_id).id, "ended")
    opens(two, service, dag_id)


@pytest.mark.scenario("no secret anywhere, on PostgreSQL")
def test_no_secret_is_left(two: Deployment, address: str, service: Service) -> None:
    """Neither a file nor a table of this deployment holds the key or the value of an override."""
    assert all(SECRET in str(run.body) for run in service.runs)
    for secret in (KEY, SECRET):
        assert files_with([secret], two.home) == []
        assert rows_with([secret], tables_of_postgres(address)) == []
