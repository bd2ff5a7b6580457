"""After all of it: the key and the value of an override are nowhere in what Airflow has left.

The session's other tests come first (`tests/deployment/conftest.py` sees to that); every run that
they have started was given the value, from a Variable whose name gives nothing away.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deployment import faults
from tests.deployment.airflow.conftest import KEY, SECRET
from tests.deployment.leaks import files_with, rows_with, tables_of_sqlite

if TYPE_CHECKING:
    from tests.deployment.airflow.host import Deployment

PLANTED = "planted-leak-90d2fa64"


@pytest.fixture
def database(deployment: Deployment) -> Path:
    """Return the file of the deployment's database."""
    return deployment.home / "airflow.db"


@pytest.mark.scenario("a planted leak is found")
def test_the_search_finds_a_planted_leak(deployment: Deployment, database: Path) -> None:
    """What a task logs, pushes, renders and raises is found in each of those places."""
    deployment.trigger("leaky")
    assert deployment.ended("leaky")["state"] == "failed"
    assert "RuntimeError" in deployment.log("leaky")
    found = files_with([PLANTED], deployment.home)
    assert any("dag_id=leaky" in path for path in found)
    assert str(database) in found or f"{database}-wal" in found
    tables = rows_with([PLANTED], tables_of_sqlite(database))
    assert {"xcom", "rendered_task_instance_fields"} <= {*tables}


@pytest.mark.scenario("no secret anywhere")
@pytest.mark.parametrize("secret", [KEY, faults.KEY, SECRET], ids=["key", "other key", "override"])
def test_no_secret_is_left(secret: str, deployment: Deployment, database: Path) -> None:
    """Neither a file of the home nor a table of the database holds it, in whatever encoding."""
    assert len(deployment.api("GET", "/api/v2/dags/~/dagRuns?limit=2")["dag_runs"]) > 1
    assert files_with([secret], deployment.home) == []
    assert rows_with([secret], tables_of_sqlite(database)) == []
