"""No secret is in anything that Prefect has left: files, results, and all tables of its server.

This module runs last, so that what all the others have left is searched, too. Before the search,
flows that hold secrets have used all we offer, and after them one has let out secrets of its own:
once those are found, the server has written what came before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from uuid import UUID

import pytest
from prefect.blocks.system import Secret
from pydantic import SecretStr

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalTestJob
from tests.deployment.faults import KEY
from tests.deployment.leaks import files_with, rows_with, tables_of_sqlite
from tests.deployment.prefect.flows import secretive
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import until

pytestmark = pytest.mark.extended

OVERRIDE = "override-value-3b9e77c1"
PLANTED = "planted-leak-90d2fa64"

BLOCK = "secretive"
FLOWS = {"json": secretive.secretive_json, "pickle": secretive.secretive_pickle}
ENVIRONMENTS = {"green": "passed", "red": "failed", "lost": "passed"}

PLACES = {
    # where it was let out: a table that must hold it
    "logged": "log",
    "shown": "artifact",
    "emitted": "events",
    "raised": "flow_run_state",
}


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Emulator]]:
    """Return a local Empirical that answers, and one whose answers to triggers are lost."""
    with (
        Emulator(api_keys=[KEY], environments=ENVIRONMENTS) as calm,
        Emulator(api_keys=[KEY], environments=ENVIRONMENTS) as losing,
    ):
        losing.fault("trigger", "drop", when="after", times=None)
        yield {"green": calm, "red": calm, "lost": losing}


@pytest.fixture(scope="module")
def flow_runs(prefect: Deployment, services: dict[str, Emulator]) -> dict[str, UUID]:
    """Run every flow with secrets, and then the one that lets them out."""
    Secret(value=SecretStr(OVERRIDE)).save("flavour")
    Secret(value=SecretStr(PLANTED)).save("planted")
    started = {}
    for environment, service in services.items():
        names = {"credentials": f"{BLOCK}-{environment}", "job": f"{BLOCK}-{environment}"}
        block = prefect.connect(names["credentials"], service.url)
        EmpiricalTestJob(credentials=block, environment=environment, poll_interval=0.2).save(
            names["job"]
        )
        for kind, flow in FLOWS.items():
            name = f"{environment}-{kind}"
            started[name] = prefect.start(flow, name, environment=environment, **names)
    for flow_run in started.values():
        prefect.ended(flow_run)
    started["leaky"] = prefect.start(secretive.leaky, "leaky", secret="planted")
    prefect.ended(started["leaky"])
    return started


def _tables_with(*secrets: str, prefect: Deployment) -> list[str]:
    return rows_with(secrets, tables_of_sqlite(prefect.database))


def _holds(prefect: Deployment, table: str, secret: str) -> bool:
    return table in _tables_with(secret, prefect=prefect)


@pytest.mark.scenario("a planted leak is found")
@pytest.mark.usefixtures("flow_runs")
def test_a_planted_leak_is_found(prefect: Deployment) -> None:
    """A secret that a flow lets out is found in each of the places that the search looks at."""
    for place, table in PLACES.items():
        until(
            f"what was {place} is found in the table {table}",
            partial(_holds, prefect, table, f"{PLANTED}-{place}"),
        )
    assert files_with([f"{PLANTED}-returned"], prefect.storage)
    assert f"{prefect.home / 'worker.out'}" in files_with([f"{PLANTED}-logged"], prefect.home)


@pytest.mark.scenario("no secret anywhere")
def test_no_secret_anywhere(
    prefect: Deployment, flow_runs: dict[str, UUID], services: dict[str, Emulator]
) -> None:
    """Neither the API key nor an override's value is in any file or table that Prefect has left."""
    until(
        "the server has written what came before the planted leak",
        lambda: {"log", "events"} <= {*_tables_with(PLANTED, prefect=prefect)},
    )
    for name, flow_run in flow_runs.items():
        green = name.startswith("green")
        assert prefect.state(flow_run).name == ("Completed" if green else "Failed"), name
    for environment, service in services.items():
        bodies = [run.body for run in service.runs if run.environment == environment]
        told = [body["environment_variables_overrides"][0] for body in bodies]
        assert told == [{"name": "FLAVOUR", "value": OVERRIDE}] * len(told)
        assert len(told) == len(FLOWS) * len(secretive.KINDS)
    assert [*prefect.storage.iterdir()], "nothing was persisted to search"

    assert files_with([KEY, OVERRIDE], prefect.home) == []
    assert _tables_with(KEY, OVERRIDE, prefect=prefect) == []
