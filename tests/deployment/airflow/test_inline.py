"""What every version must be able to do, through `airflow dags test`: for Airflow 2.11.

There are no processes beside the task's own: triggers run in it, and nobody serves a browser.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.providers_manager import ProvidersManager

from tests.airflow.conftest import HOME, DagRun
from tests.airflow.migrated import copy_migrated
from tests.deployment.airflow.conftest import KEY, SECRET, serving
from tests.deployment.airflow.test_basics import CASES, COLOURS, ENDS
from tests.deployment.leaks import files_with, rows_with, tables_of_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service


TESTS_ITSELF = ("MaskSecret(", "VariableResult(", "ConnectionResult(")
"""What `airflow dags test` itself prints in plain text while it passes a secret on."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Return the service of the DAG; a run of each kind ends within a second or two."""
    ends = {name: "passed" if end == "stuck" else end for name, end in ENDS.items()}
    with serving(ends) as service:
        yield service


@pytest.fixture(scope="module")
def run(service: Service) -> DagRun:
    """Return the one run of the DAG that has all gates."""
    copy_migrated(HOME / "airflow.db")
    with pytest.MonkeyPatch.context() as patch:
        connection = {"conn_type": "empirical", "password": KEY, "host": service.url}
        patch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(connection))
        patch.setenv("AIRFLOW_VAR_FLAVOUR", SECRET)
        folder = Path(__file__).parent / "dags_inline"
        return DagRun(HOME / "airflow.db", folder, "everything")


@pytest.mark.parametrize(("mode", "colour"), CASES)
def test_a_gate_goes_by_the_verdict(mode: str, colour: str, run: DagRun, service: Service) -> None:
    """Green opens, red fails in the first try of three; XCom holds the verdict on its one run."""
    name, (outcome, state) = f"{mode}-{colour}", COLOURS[colour]
    assert run.task(name)[0] == state, run.output
    ours = service.the_run_in(name)
    verdict = run.xcoms(name)["verdict"]
    assert (verdict["run_id"], verdict["outcome"]) == (ours.id, outcome)
    assert verdict["url"] == f"{service.url}/acme/test-runs/{ours.id}"
    assert (ours.state, service.sent(name)) == ("ended", 1)


@pytest.mark.scenario("trigger")
def test_a_trigger_does_not_wait(run: DagRun, service: Service) -> None:
    """The task succeeds with the run's id and page in XCom."""
    assert run.task("trigger-only") == ("success", 1)
    xcoms, ours = run.xcoms("trigger-only"), service.the_run_in("trigger-only")
    assert xcoms["return_value"] == xcoms["test_run_id"] == ours.id
    assert xcoms["test_run_url"] == f"{service.url}/acme/test-runs/{ours.id}"


@pytest.mark.scenario("gate: a worker killed, adopted by a retry")
def test_a_try_that_ends_leaves_its_run_to_the_retry(run: DagRun, service: Service) -> None:
    """A try that ends after the start (by an error: a kill ends the command) is gone on with."""
    assert run.task("worker-killed") == ("success", 2)
    ours = service.the_run_in("worker-killed")
    assert run.xcoms("worker-killed")["verdict"]["run_id"] == ours.id
    assert (ours.state, service.sent("worker-killed")) == ("ended", 1)


@pytest.mark.scenario("gate, deferrable: triggerer SIGKILL")
def test_a_killed_triggerer_is_survived() -> None:
    """Nothing to be seen here."""
    pytest.skip("`airflow dags test` runs triggers in the task's own process: there is no other")


@pytest.mark.scenario("connection form")
def test_the_form_has_our_fields_only() -> None:
    """What Airflow's browser makes the form of has our labels and our extras, and no others."""
    manager = ProvidersManager()
    behaviour = manager.field_behaviours["empirical"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert {*behaviour["hidden_fields"]} == {"login", "schema", "port", "extra"}
    ours = [
        widget.field.args[0]
        for name, widget in manager.connection_form_widgets.items()
        if name.startswith("extra__empirical__")
    ]
    assert ours == [
        "Project id",
        "Project slug",
        "Dashboard URL",
        "Default environment",
        "Request timeout (s)",
        "CA bundle",
    ]


@pytest.mark.scenario("no secret anywhere")
@pytest.mark.parametrize("secret", [KEY, SECRET], ids=["key", "override"])
def test_no_secret_is_left(secret: str, run: DagRun) -> None:
    """Neither the output nor a file of the home nor a table of the database holds it."""
    printed = [
        line for line in run.output.splitlines() if not any(word in line for word in TESTS_ITSELF)
    ]
    assert [line for line in printed if secret in line] == []
    assert files_with([secret], HOME) == []
    assert rows_with([secret], tables_of_sqlite(HOME / "airflow.db")) == []
    with closing(sqlite3.connect(HOME / "airflow.db")) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM xcom").fetchall()
    assert count > len(CASES)
