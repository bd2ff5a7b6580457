"""One whole Airflow for all modules; each has DAGs, a connection and an emulator of its own."""

from __future__ import annotations

import math
import shutil
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from empirical_provider.emulator import Emulator
from tests.deployment.airflow.host import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from empirical_provider.emulator import RunSnapshot

KEY = "emp-key-2c90e4d1f7"
SECRET = "override-value-7d1f4b90c3"
"""The value that every run's environment gets, kept in a Variable."""

DAGS = Path(__file__).parent / "dags"
SLOTS = 6
"""Tasks that can run at the same time."""


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the deployment's DAGs, to which a module may add files."""
    return Path(shutil.copytree(DAGS, tmp_path_factory.mktemp("deployment") / "dags"))


@pytest.fixture(scope="session")
def deployment(dags: Path) -> Iterator[Deployment]:
    """Return a whole Airflow on SQLite."""
    with Deployment(dags, slots=SLOTS) as airflow:
        airflow.set_variable("flavour", SECRET)
        yield airflow


class Service(Emulator):
    """A local Empirical, with what tests ask of it."""

    def runs_in(self, environment: str) -> list[RunSnapshot]:
        """Return the runs of an environment, oldest first."""
        return [run for run in self.runs if run.body["environment"] == environment]

    def the_run_in(self, environment: str) -> RunSnapshot:
        """Return the one run of an environment."""
        [run] = self.runs_in(environment)
        return run

    def sent(self, environment: str) -> int:
        """Return how many requests asked for a run in an environment."""
        bodies = [each.body for each in self.requests if each.endpoint == "trigger"]
        return [body["environment"] for body in bodies].count(environment)

    def looks(self, environment: str) -> int:
        """Return how often the runs of an environment were read one by one, as a worker does."""
        asked = [each.path for each in self.requests if each.endpoint == "get_test_run"]
        return sum(asked.count(f"/api/test-runs/{run.id}") for run in self.runs_in(environment))

    def watched(self, environment: str) -> int:
        """Return how often triggers looked at the runs of an environment: by a list, too.

        Triggers that wait together read lists; nobody else does without a retry or a shared key.
        """
        created = [datetime.fromisoformat(run.created_at) for run in self.runs_in(environment)]
        since = min(created).timestamp() if created else math.inf
        lists = [each.at for each in self.requests if each.endpoint == "list_test_runs"]
        return self.looks(environment) + sum(at > since for at in lists)

    def cancels(self, environment: str) -> int:
        """Return how often the runs of an environment were asked to be cancelled."""
        asked = [each.path for each in self.requests if each.endpoint == "cancel_test_run"]
        runs = self.runs_in(environment)
        return sum(asked.count(f"/api/test-runs/{run.id}/cancel") for run in runs)


def serving(environments: dict[str, str]) -> Service:
    """Return a local Empirical whose runs move with time, and whose pages show what they are for.

    Args:
        environments: How the runs of each environment end.
    """
    service = Service(api_keys=[KEY], environments=environments, advance="time", state_seconds=1.0)
    service.behave(echo_in_detail=service.behaviour.echo_in_detail | {"metadata"})
    return service


@contextmanager
def started(
    deployment: Deployment, connection: str, environments: dict[str, str]
) -> Iterator[Service]:
    """Start the DAG of each environment's name; yield the emulator that they use.

    Args:
        deployment: Where they run.
        connection: The id of their connection, which is made to lead to the emulator.
        environments: How the runs of each environment end.
    """
    with serving(environments) as service:
        deployment.connect(connection, password=KEY, host=service.url)
        deployment.trigger(*environments)
        yield service
