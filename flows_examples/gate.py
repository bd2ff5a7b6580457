"""Deploy, test, and go live only if the tests passed; where they are skipped, stay as it was.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider.prefect import EmpiricalCredentials, run_tests


@task
def deploy(version: str, environment: str) -> str:
    """Put the version on an environment and say where it answers."""
    return f"https://{environment}.example.com/{version}/"


@flow(name="gate")
def gate(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Release a version, unless its tests are red: then this flow fails, and nothing goes live.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        poll_interval: Seconds between two looks at the test run.
    """
    verdict = run_tests(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        build={"url": deploy(version, environment), "version": version},
        policy={"superseded": "skip", "min_tests": 2},  # a newer release is on its way: let it be
        poll_interval=poll_interval,
    )
    if verdict["decision"] == "skip":
        return f"Not released. {verdict['summary']}"
    return f"Live at {deploy(version, 'production')}. {verdict['summary']}"


if __name__ == "__main__":
    print(gate())
