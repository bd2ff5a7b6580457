"""Promote the release if its tests passed, else roll it back.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider import GateClosedError
from empirical_provider.prefect import EmpiricalCredentials, run_tests


@task
def promote(version: str) -> str:
    """Send all users to the new version."""
    return f"All users are on {version}."


@task
def roll_back() -> None:
    """Send all users to the version before."""


@flow(name="promote-or-roll-back")
def promote_or_roll_back(
    credentials: str = "prod",
    environment: str = "production",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Promote a version, or roll it back and fail.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        poll_interval: Seconds between two looks at the test run.
    """
    try:
        verdict = run_tests(
            credentials=EmpiricalCredentials.load(credentials),
            environment=environment,
            build={"version": version},
            poll_interval=poll_interval,
        )
    except GateClosedError:  # its `verdict` says why
        roll_back()
        raise
    return f"{promote(version)} {verdict['summary']}"


if __name__ == "__main__":
    print(promote_or_roll_back())
