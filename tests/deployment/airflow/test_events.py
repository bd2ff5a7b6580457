"""Assets that watch for the ends of test runs, in a whole Airflow whose triggerer is killed."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from tests.deployment.airflow.conftest import KEY, serving
from tests.deployment.airflow.host import AIRFLOW, Deployment
from tests.deployment.leaks import files_with, rows_with, tables_of_sqlite
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service

pytestmark = pytest.mark.extended

EXAMPLE = Path(__file__).parents[3] / "dags_examples" / "start_when_a_run_ends.py"
WATCHING = Path(__file__).parent / "watching.py"
WATCHED = ["every", *(f"other-{number}" for number in range(2, 21))]
"""The assets of the second of these files."""

INTERVAL = 6.0
"""Seconds between two polls of the watchers."""

_PREFIX = "empirical_test_runs__"
"""What the Variables of watchers begin with."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Return the service that is watched; its runs end when they are told to."""
    with serving({"staging": "stuck"}) as service:
        yield service


@pytest.fixture(scope="module")
def airflow(deployment: Deployment, dags: Path, service: Service) -> Deployment:
    """Return the Airflow, with watchers that have polled once."""
    deployment.connect("empirical_default", password=KEY, host=service.url)
    for file in (EXAMPLE, WATCHING):
        shutil.copy(file, dags)
    parsed = ("consumer", "onlooker", EXAMPLE.stem)
    until("the DAGs are parsed", lambda: deployment.known(*parsed))
    deployment.api("PATCH", f"/api/v2/dags/{EXAMPLE.stem}", {"is_paused": False})
    # Airflow begins to watch for an unpaused DAG when it parses its file again, after 30 s.
    until("all have polled", lambda: len(saved(deployment)) == 1 + len(WATCHED))
    return deployment


def lists(service: Service) -> int:
    return sum(each.endpoint == "list_test_runs" for each in service.requests)


def trigger(service: Service) -> int:
    """Start a run, as others do."""
    answer = httpx.put(
        f"{service.url}/api/test-runs",
        json={"environment": "staging"},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    run_id: int = answer.json()["data"]["test_run"]["id"]
    return run_id


def end(service: Service, count: int) -> list[int]:
    """Start some runs, and let them end."""
    ids = [trigger(service) for _ in range(count)]
    for run_id in ids:
        service.set_state(run_id, "ended")
    return ids


def rows(airflow: Deployment, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Read Airflow's database: its REST API answers 500 for an event whose DAG run is queued."""
    with closing(sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)) as base:
        return base.execute(query, values).fetchall()


def events(airflow: Deployment, asset: str = "every") -> list[dict[str, Any]]:
    """Return the verdicts in the events of an asset, the oldest first."""
    query = """SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id
               WHERE asset.name = ? ORDER BY asset_event.id"""
    return [json.loads(extra)["payload"] for (extra,) in rows(airflow, query, asset)]


def reported(airflow: Deployment, asset: str = "every") -> list[int]:
    return sorted(each["run_id"] for each in events(airflow, asset))


def consumed(airflow: Deployment) -> dict[int, datetime]:
    """Return which verdicts have started the DAG, and when that began."""
    query = """SELECT asset_event.extra, dag_run.start_date
               FROM dagrun_asset_event JOIN asset_event ON asset_event.id = event_id
               JOIN dag_run ON dag_run.id = dag_run_id
               WHERE dag_run.dag_id = 'consumer' AND dag_run.run_type = 'asset_triggered'
               AND dag_run.start_date IS NOT NULL"""
    return {
        json.loads(extra)["payload"]["run_id"]: datetime.fromisoformat(began).replace(tzinfo=UTC)
        for extra, began in rows(airflow, query)
    }


def saved(airflow: Deployment) -> list[set[int]]:
    """Return the ids that each watcher has saved as told: in its asset's state, or a Variable."""
    if AIRFLOW < (3, 3):
        variables = airflow.api("GET", "/api/v2/variables?limit=100")["variables"]
        values = [each["value"] for each in variables if each["key"].startswith(_PREFIX)]
    else:
        values = [value for (value,) in rows(airflow, "SELECT value FROM asset_state_store")]
    return [{*json.loads(value)["told"]} for value in values]


@pytest.mark.scenario("a DAG starts when a run ends")
def test_a_dag_starts_when_a_run_ends(airflow: Deployment, service: Service) -> None:
    """Within two polls of a run's end there is an event with its verdict, and it starts a DAG."""
    run_id = trigger(service)
    polls = lists(service)
    until("it is seen while it is still running", lambda: lists(service) > polls + 1)
    service.set_state(run_id, "ended")
    polls = lists(service)
    until("it is reported", lambda: run_id in reported(airflow) or lists(service) > polls + 2)
    assert run_id in reported(airflow)
    until("the DAG has started", lambda: consumed(airflow).get(run_id))
    [verdict] = events(airflow)
    assert (verdict["run_id"], verdict["outcome"]) == (run_id, "passed")
    assert verdict["url"] == f"{service.url}/acme/test-runs/{run_id}"


@pytest.mark.scenario("a DAG starts when a run is red")
def test_the_example_starts_where_staging_is_red(airflow: Deployment, service: Service) -> None:
    """The example's DAG has not started for a green run, and it does for a red one."""
    assert dag_runs(airflow, EXAMPLE.stem) == []
    service.script("staging", "failed", runs=1)
    [red] = end(service, 1)
    until("it has started", lambda: dag_runs(airflow, EXAMPLE.stem) == ["success"])
    dag_run = airflow.api("GET", f"/api/v2/dags/{EXAMPLE.stem}/dagRuns")["dag_runs"][0]
    path = f"/api/v2/dags/{EXAMPLE.stem}/dagRuns/{quote(dag_run['dag_run_id'])}"
    told = airflow.api("GET", f"{path}/taskInstances/tell/xcomEntries/return_value")["value"]
    assert f"Empirical test run {red} in staging failed" in str(told)


def dag_runs(airflow: Deployment, dag_id: str) -> list[str]:
    """Return the states of the runs of a DAG."""
    runs = airflow.api("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
    return [each["state"] for each in runs]


@pytest.mark.scenario("twenty watchers, one poll")
@pytest.mark.skipif(AIRFLOW < (3, 3), reason="watchers share a poll from Airflow 3.3 on")
def test_twenty_watchers_make_one_poll(airflow: Deployment, service: Service) -> None:
    """All twenty have the event of a run that was read once, and lists are read at one's pace."""
    began, since = lists(service), time.monotonic()
    [run_id] = end(service, 1)
    until("all have the event", lambda: all(run_id in reported(airflow, name) for name in WATCHED))
    passed = time.monotonic() - since
    read = Counter(each.path for each in service.requests)
    assert read[f"/api/test-runs/{run_id}"] == 1
    assert lists(service) - began <= passed / (0.9 * INTERVAL) + 1


@pytest.mark.scenario("triggerer SIGKILL while runs end")
def test_fifty_ends_are_fifty_events(airflow: Deployment, service: Service) -> None:
    """Of runs that end before, while and after a triggerer is dead, each has exactly one event for
    each of the twenty watchers."""
    before = {name: reported(airflow, name) for name in WATCHED}
    open_one = trigger(service)
    ids = end(service, 19)
    until("that is saved", lambda: all(set(ids) <= each for each in saved(airflow)))
    late = end(service, 5)  # most probably not looked at yet
    airflow.kill("triggerer", signal.SIGKILL)
    service.set_state(open_one, "ended")
    ids += [*late, open_one, *end(service, 15)]
    airflow.again("triggerer")
    looks = lists(service)
    until("it watches again", lambda: lists(service) > looks)
    ids += end(service, 10)
    assert len(ids) == 50
    until(
        "all have events", lambda: all(set(ids) <= {*reported(airflow, each)} for each in WATCHED)
    )
    looks = lists(service)
    until("nothing more comes", lambda: lists(service) > looks + 2)
    for name in WATCHED:
        assert reported(airflow, name) == sorted([*before[name], *ids])


@pytest.mark.scenario("no secret anywhere")
def test_the_key_is_nowhere(airflow: Deployment, service: Service) -> None:
    """After all that, neither a file of the home nor a row of the database holds the key."""
    assert lists(service) > 0
    assert files_with([KEY], airflow.home) == []
    assert rows_with([KEY], tables_of_sqlite(airflow.home / "airflow.db")) == []
