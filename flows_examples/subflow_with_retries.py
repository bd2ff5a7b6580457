"""A gate as a subflow of its own, with retries: they go on with the test run that there is.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider import VerdictDict
from empirical_provider.prefect import cancel_test_runs_on_cancellation, run_tests


# The retries of the flow are for a process or a network that fails. Those of the task start another
# test run where one ended in error or was cancelled. Failed tests consume none of either.
@flow(
    name="gate",
    retries=2,
    retry_delay_seconds=1,
    on_cancellation=[cancel_test_runs_on_cancellation],
)
def gate(credentials: str, environment: str, version: str, poll_interval: float) -> VerdictDict:
    """Test a version, and fail unless its tests passed.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to test.
        poll_interval: Seconds between two status checks of the test run.
    """
    return run_tests.with_options(retries=2, retry_delay_seconds=1)(
        credentials=credentials,
        environment=environment,
        build={"version": version},
        poll_interval=poll_interval,
    )


@task
def promote(version: str) -> str:
    """Send all users to the new version."""
    return f"All users are on {version}."


@flow(name="subflow-with-retries")
def subflow_with_retries(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Promote a version behind the gate.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        poll_interval: Seconds between two status checks of the test run.
    """
    verdict = gate(credentials, environment, version, poll_interval)
    return f"{promote(version)} {verdict['summary']}"


if __name__ == "__main__":
    print(subflow_with_retries())
