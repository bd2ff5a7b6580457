"""What every supported Prefect must do: trigger, open or close the gate, adopt, show the form.

All flow runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect.blocks.core import Block

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    run_empirical_tests,
)
from tests.deployment.faults import KEY, looks
from tests.deployment.prefect.flows import basics
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import until

BLOCK = "basics"
POLL_INTERVAL = 0.2
GATES = ("task", "block", "ready flow")
COLOURS = ("green", "red")
OUTCOME = {"green": "passed", "red": "failed"}


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    """Return a local Empirical with an environment for each flow run."""
    environments = {
        _slug(gate, colour): OUTCOME[colour] for gate in GATES for colour in COLOURS
    } | {"triggered": "passed"}
    with Emulator(api_keys=[KEY], environments=environments) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def killable() -> Iterator[Emulator]:
    """Return a local Empirical for the flow run whose looks are counted."""
    with Emulator(api_keys=[KEY], environments={"adopted": "stuck"}) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def flow_runs(prefect: Deployment, service: Emulator, killable: Emulator) -> dict[str, UUID]:
    """Start every flow run."""
    block = prefect.connect(BLOCK, service.url)
    prefect.connect(f"{BLOCK}-killable", killable.url)
    waits: dict[str, Any] = {"credentials": BLOCK, "poll_interval": POLL_INTERVAL}
    started = {
        "adopted": prefect.start(
            basics.gate_by_task,
            "adopted",
            **{**waits, "credentials": f"{BLOCK}-killable", "environment": "adopted"},
        ),
        "triggered": prefect.start(
            basics.triggering, "triggered", credentials=BLOCK, environment="triggered"
        ),
    }
    for colour in COLOURS:
        slug = _slug("task", colour)
        started[slug] = prefect.start(basics.gate_by_task, slug, **waits, environment=slug)
        slug = _slug("ready flow", colour)
        started[slug] = prefect.start(run_empirical_tests, slug, **waits, environment=slug)
        slug = _slug("block", colour)
        EmpiricalTestJob(credentials=block, environment=slug, poll_interval=POLL_INTERVAL).save(
            slug
        )
        started[slug] = prefect.start(basics.gate_by_block, slug, job=slug)
    return started


@pytest.mark.scenario("trigger")
def test_a_flow_that_triggers(
    prefect: Deployment, flow_runs: dict[str, UUID], service: Emulator
) -> None:
    """A flow on a worker starts one run and goes on: id and link are in result, log and link."""
    flow_run = flow_runs["triggered"]

    state = prefect.ended(flow_run)

    assert state.name == "Completed", state.message
    (run,) = [each for each in service.runs if each.environment == "triggered"]
    url = f"{service.url}/acme/test-runs/{run.id}"
    assert (run.state, state.result()["id"], state.result()["url"]) == ("queued", run.id, url)
    assert url in prefect.artifact(flow_run, "empirical-test-run").data
    labels = prefect.server.read_flow_run(flow_run).labels
    assert labels["empirical.test_run_id"] == run.id
    prefect.told(flow_run, f"Empirical test run {run.id} is queued in 'triggered': {url}")


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.scenario("gate, {gate}: {colour}")
def test_a_gate(
    gate: str,
    colour: str,
    prefect: Deployment,
    flow_runs: dict[str, UUID],
    service: Emulator,
) -> None:
    """Green completes the flow with the verdict; red fails it by a message with id and link."""
    slug = _slug(gate, colour)

    state = prefect.ended(flow_runs[slug])

    (run,) = [each for each in service.runs if each.environment == slug]
    assert run.state == "ended"
    assert looks(service) > 0
    told = f"Empirical test run {run.id} in {slug} {OUTCOME[colour]}: "
    url = f"{service.url}/acme/test-runs/{run.id}"
    if colour == "green":
        assert state.name == "Completed", state.message
        verdict = state.result()
        assert (verdict["outcome"], verdict["run_id"], verdict["url"]) == (
            "passed",
            run.id,
            url,
        )
    else:
        assert state.name == "Failed"
    if colour == "red" or gate == "ready flow":
        assert told in state.message
    if colour == "red":
        assert url in state.message
    assert told in prefect.artifact(flow_runs[slug], "empirical-verdict").data
    assert prefect.artifact(flow_runs[slug], "empirical-progress").data == 100


@pytest.mark.scenario("flow process SIGKILL, adopted by a retry")
def test_a_killed_flow_run_is_adopted(
    prefect: Deployment, flow_runs: dict[str, UUID], killable: Emulator
) -> None:
    """A flow run whose process is killed while it waits goes on with its run once it is retried."""
    flow_run = flow_runs["adopted"]
    until("it waits", lambda: looks(killable) > 2)
    prefect.kill_process_of(flow_run)
    prefect.crashed(flow_run)
    seen = looks(killable)

    prefect.retry(flow_run)
    until("it waits again", lambda: looks(killable) > seen + 1)
    (run,) = killable.runs
    killable.set_state(run.id, "ended")
    state = prefect.completed(flow_run)

    assert (state.result()["run_id"], state.result()["outcome"]) == (run.id, "passed")
    assert [each.state for each in killable.runs] == ["ended"]
    assert [each.endpoint for each in killable.requests].count("trigger") == 1
    assert prefect.states(flow_run).count("Running") == 2


@pytest.mark.parametrize("block", [EmpiricalCredentials, EmpiricalTestJob])
@pytest.mark.scenario("block form")
@pytest.mark.usefixtures("flow_runs")  # which have registered both
def test_the_form_of_a_block(block: type[Block], prefect: Deployment) -> None:
    """What the UI makes a block's form of has our fields, each described, and hides the key."""
    slug = block.get_block_type_slug()
    kind = prefect.server.read_block_type_by_slug(slug)
    schema: Any = prefect.server.get_most_recent_block_schema_for_block_type(kind.id)

    fields = schema.fields["properties"]
    assert [*fields] == [*block.model_fields]
    refers = {"credentials"}  # told by the block that it is
    for name, field in fields.items():
        assert name in refers or field["description"].endswith("."), name
    assert schema.fields["secret_fields"] == (
        ["api_key"] if block is EmpiricalCredentials else ["credentials.api_key"]
    )
    assert kind.code_example is not None
    assert f"{block.__name__}.load(" in kind.code_example
    assert "from empirical_provider.prefect import " in kind.code_example
    assert kind.logo_url is not None
    assert kind.description


def _slug(gate: str, colour: str) -> str:
    return f"{gate} {colour}".replace(" ", "-")
