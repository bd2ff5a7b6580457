"""Test one release in several environments at once: one gate each, all in one flow run.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow
from prefect.futures import wait

from empirical_provider.prefect import (
    EmpiricalCredentials,
    cancel_test_runs_on_cancellation,
    run_tests,
)


# A task that was submitted does not notice that its flow run is cancelled: the hook does.
@flow(
    name="matrix-of-environments",
    log_prints=True,
    on_cancellation=[cancel_test_runs_on_cancellation],
)
def matrix_of_environments(
    environments: tuple[str, ...] = ("production", "staging"),
    credentials: str = "prod",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Go live if every gate is open; fail by the first that is not, once all have told.

    Args:
        environments: Slugs of the environments to test.
        credentials: Name of the Empirical Credentials block.
        version: What is released.
        poll_interval: Seconds between two looks at a test run.
    """
    gates = [
        run_tests.submit(
            credentials=EmpiricalCredentials.load(credentials),
            environment=environment,
            metadata={"release": version},
            poll_interval=poll_interval,
        )
        for environment in environments
    ]
    wait(gates)
    for environment, gate in zip(environments, gates, strict=True):
        print(f"{environment}: {gate.state.name}")  # noqa: T201
    verdicts = [gate.result() for gate in gates]  # raises where a gate is closed
    return f"Live: {' '.join(verdict['summary'] for verdict in verdicts)}"


if __name__ == "__main__":
    print(matrix_of_environments())  # noqa: T201
