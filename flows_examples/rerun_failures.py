"""Give red tests one more chance: a retry re-runs those that failed, and no others.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow

from empirical_provider.prefect import EmpiricalCredentials, run_tests


@flow(name="rerun-failures")
def rerun_failures(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Release a version if no test has failed twice.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        poll_interval: Seconds between two looks at the test run.
    """
    verdict = run_tests.with_options(retries=1)(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        build={"version": version},
        on_retry_after_red="rerun_failed",
        poll_interval=poll_interval,
    )
    return f"Live. {verdict['summary']}"


if __name__ == "__main__":
    print(rerun_failures())
