"""Look before the release whether it can be tested at all; else nothing is deployed.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider.prefect import EmpiricalCredentials, preflight, run_tests


@task
def deploy(version: str, environment: str) -> str:
    """Put the version on an environment and say where it answers."""
    return f"https://{environment}.example.com/{version}/"


@flow(name="preflight-then-release")
def preflight_then_release(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Deploy and test a version, but only if its test run could be started.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to deploy to and to test.
        version: Version to release.
        poll_interval: Seconds between two looks at the test run.
    """
    empirical = EmpiricalCredentials.load(credentials)
    tags = ["@smoke"]
    preflight(credentials=empirical, environment=environment, tags=tags)
    verdict = run_tests(
        credentials=empirical,
        environment=environment,
        tags=tags,
        build={"url": deploy(version, environment), "version": version},
        poll_interval=poll_interval,
    )
    return str(verdict["summary"])


if __name__ == "__main__":
    print(preflight_then_release())
