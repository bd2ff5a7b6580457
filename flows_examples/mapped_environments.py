"""Test one release in several environments at once, from a flow that is not async.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``. The hook loads
it to cancel the test runs if the flow run is cancelled.
"""

from __future__ import annotations

from prefect import flow, unmapped

from empirical_provider.prefect import cancel_test_runs_on_cancellation, run_tests


@flow(name="mapped-environments", on_cancellation=[cancel_test_runs_on_cancellation])
def mapped_environments(
    environments: tuple[str, ...] = ("production", "staging"),
    credentials: str = "prod",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Go live if the tests have passed in each environment; otherwise fail.

    Args:
        environments: Slugs of the environments to test.
        credentials: Name of the Empirical Credentials block.
        version: Version to release.
        poll_interval: Seconds between two status checks of the test runs.
    """
    gates = run_tests.map(
        credentials=credentials,
        environment=environments,
        build=unmapped({"version": version}),
        poll_interval=poll_interval,
    )
    # Ask for the results: a mapped task that fails does not fail the flow by itself.
    return f"Live: {' '.join(each['summary'] for each in gates.result())}"


if __name__ == "__main__":
    print(mapped_environments())
