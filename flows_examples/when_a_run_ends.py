"""Start a flow when a test run ends, whoever has started that: here, where staging is red.

Needs a saved block of type Empirical Credentials with the name ``prod``. Serves two deployments:
the ready flow looks every minute and emits an event for each end; some of those start the other.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, serve
from prefect.events import DeploymentEventTrigger

from empirical_provider.prefect import emit_test_run_events


@flow(name="tell", log_prints=True)
def tell(verdict: dict[str, Any]) -> None:
    """Tell of a red run.

    Args:
        verdict: The event's payload.
    """
    print(f"Red: {verdict['summary']}")


RED = DeploymentEventTrigger(
    name="staging is red",
    expect={"empirical.test-run.finished"},
    match={"empirical.environment": "staging", "empirical.outcome": ["failed", "error"]},
    parameters={
        "verdict": {
            "__prefect_kind": "json",
            "value": {"__prefect_kind": "jinja", "template": "{{ event.payload | tojson }}"},
        }
    },
)

if __name__ == "__main__":
    serve(
        emit_test_run_events.to_deployment(
            "every-minute", interval=60, parameters={"credentials": "prod"}
        ),
        tell.to_deployment("when-staging-is-red", triggers=[RED]),
    )
