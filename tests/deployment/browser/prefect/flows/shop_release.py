"""A shop's releases, run against the server and the local Empirical that the environment names.

Saves the blocks that the pages show, runs the flows, and prints the ids of the flow runs.
"""

from __future__ import annotations

import json
import os
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from pydantic import SecretStr

from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    run_empirical_tests,
    run_tests,
)


@task
def deploy(version: str) -> str:
    """Put the version on staging and say where it answers."""
    return f"https://staging.shop.example.com/{version}/"


@task
def promote(version: str) -> str:
    """Put the version live."""
    return f"https://shop.example.com/{version}/"


def saved() -> EmpiricalCredentials:
    """Return the saved block."""
    block = EmpiricalCredentials.load("prod")
    assert isinstance(block, EmpiricalCredentials), "in an async function it is to be awaited"
    return block


@flow(name="shop-release", flow_run_name="release-{version}")
def shop_release(version: str) -> str:
    """Deploy, test, and go live only if the tests passed."""
    run_tests.with_options(name="e2e-gate")(
        credentials=saved(),
        environment="staging",
        build={"url": deploy(version), "version": version},
        poll_interval=0.5,
    )
    return promote(version)


def flow_run(state: State[Any]) -> str:
    """Return the id of the flow run that has ended."""
    return str(state.state_details.flow_run_id)


if __name__ == "__main__":
    EmpiricalCredentials(
        api_key=SecretStr(os.environ["SHOP_API_KEY"]), base_url=os.environ["SHOP_EMPIRICAL"]
    ).save("prod")
    # The saved one, so that the job refers to it.
    job = EmpiricalTestJob(credentials=saved(), environment="production", poll_interval=0.5)
    job.save("smoke")
    gate = run_empirical_tests.with_options(flow_run_name="gate-4.1.9")
    flow_runs = {
        "red": flow_run(shop_release(version="4.2.0", return_state=True)),
        "green": flow_run(
            gate(credentials="prod", environment="production", poll_interval=0.5, return_state=True)
        ),
    }
    print(json.dumps(flow_runs))  # noqa: T201
