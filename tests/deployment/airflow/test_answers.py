"""The service fails while a gate is deferred: what becomes of the gate, and of the one run.

All DAG runs are started at once, and each fault strikes once its gate waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployment import faults
from tests.deployment.faults import FAULTS, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.deployment.airflow.host import Deployment

pytestmark = pytest.mark.extended

DAGS = {name: f"fault-{number:02}" for number, name in enumerate(FAULTS)}


@pytest.fixture(scope="module")
def scenes(deployment: Deployment) -> Iterator[Mapping[str, Scene]]:
    """Return the services, with a gate started for each."""
    with faults.playing() as scenes:
        for name, scene in scenes.items():
            deployment.connect(DAGS[name], password=faults.KEY, host=scene.emulator.url)
        deployment.trigger(*DAGS.values())
        yield scenes


@pytest.mark.scenario("service: {name}")
@pytest.mark.parametrize("name", FAULTS)
def test_a_gate_comes_to_what_it_must(
    name: str, deployment: Deployment, scenes: Mapping[str, Scene]
) -> None:
    """A fault that passes is survived in the first try; one that does not closes the gate."""
    scene, fault, dag_id = scenes[name], FAULTS[name], DAGS[name]
    scene.finished()
    gate = deployment.ended(dag_id)
    log = deployment.log(dag_id)
    opened = fault.outcome == "passed"
    assert (gate["state"], gate["try_number"]) == ("success" if opened else "failed", 1), log
    scene.has_one_run()
    assert deployment.xcom(dag_id, "test_run_id") == scene.run_id
    if fault.outcome in {"authentication", "not_found"}:
        assert f"/acme/test-runs/{scene.run_id}" in log
    else:
        verdict = deployment.xcom(dag_id, "verdict")
        assert (verdict["run_id"], verdict["outcome"]) == (scene.run_id, fault.outcome)
    assert [words for words in fault.told if words not in log] == []
    assert faults.KEY not in log
