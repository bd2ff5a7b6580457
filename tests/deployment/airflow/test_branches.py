"""Each index of a mapped task group goes its own way, and no other, also after a clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployment.airflow.conftest import KEY, serving
from tests.deployment.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.airflow.conftest import Service
    from tests.deployment.airflow.host import Deployment

DAG = "branches"
GREEN, RED = 0, 1
CHOSEN = {
    "place.promote": {GREEN: "success", RED: "skipped"},
    "place.roll_back": {GREEN: "skipped", RED: "success"},
}


@pytest.fixture(scope="module")
def service(deployment: Deployment) -> Iterator[Service]:
    """Return the service of this DAG."""
    with serving({"branch-green": "passed", "branch-red": "failed"}) as service:
        deployment.connect(DAG, password=KEY, host=service.url)
        yield service


def clear(deployment: Deployment, task_id: str, index: int, *, downstream: bool) -> None:
    """Clear one task instance, as a person does in the browser."""
    what = {"task_ids": [[task_id, index]], "dag_run_id": "only", "include_downstream": downstream}
    how = {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
    deployment.api("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", {**what, **how})


def ways(deployment: Deployment) -> dict[str, dict[int, str | None]]:
    """Return the state of either way, by map index."""
    return {
        name: {each["map_index"]: each["state"] for each in deployment.tasks(DAG, name)}
        for name in CHOSEN
    }


def tries(deployment: Deployment, name: str, index: int) -> int:
    """Return how often one task instance was started."""
    [found] = [each for each in deployment.tasks(DAG, name) if each["map_index"] == index]
    number: int = found["try_number"]
    return number


@pytest.mark.scenario("a branch in a mapped task group")
@pytest.mark.usefixtures("service")
def test_a_failed_release_is_not_promoted(deployment: Deployment) -> None:
    """The way that was not chosen is skipped for each index, and again after the branch was
    cleared with what follows it. A skipped task that is cleared alone runs: the branch has to be
    cleared, as the page says."""
    deployment.trigger(DAG)
    until("the DAG run has ended", lambda: deployment.dag_state(DAG) in {"success", "failed"})
    assert deployment.states(DAG, "place.gate").count("failed") == 1
    assert ways(deployment) == CHOSEN

    clear(deployment, "place.decide", RED, downstream=True)
    until("the branch has run again", lambda: tries(deployment, "place.decide", RED) > 1)
    until("the DAG run has ended", lambda: deployment.dag_state(DAG) in {"success", "failed"})
    assert ways(deployment) == CHOSEN
    assert deployment.states(DAG, "place.decide") == ["success", "success"]

    clear(deployment, "place.promote", RED, downstream=False)
    until("it runs", lambda: ways(deployment)["place.promote"][RED] == "success")
    assert ways(deployment)["place.roll_back"] == CHOSEN["place.roll_back"]
