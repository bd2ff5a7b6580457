"""Start the tests, do something else meanwhile, and promote the release once they have passed.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider.prefect import trigger_test_run, wait_for_test_run


@task
def deploy(version: str, environment: str) -> str:
    """Put the version on an environment and say where it answers."""
    return f"https://{environment}.example.com/{version}/"


@task
def write_notes(version: str) -> str:
    """Write the release notes, while the tests run."""
    return f"What is new in {version}"


@task
def promote(version: str, notes: str) -> str:
    """Send all users to the new version."""
    return f"All users are on {version}: {notes}."


@flow(name="trigger-then-promote")
def trigger_then_promote(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Promote a version whose tests have passed; otherwise fail, and promote nothing.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        poll_interval: Seconds between two status checks of the test run.
    """
    run = trigger_test_run(
        credentials=credentials,
        environment=environment,
        build={"url": deploy(version, environment), "version": version},
    )
    notes = write_notes(version)
    verdict = wait_for_test_run(
        credentials=credentials, test_run_id=run, poll_interval=poll_interval
    )
    return f"{promote(version, notes)} {verdict['summary']}"


if __name__ == "__main__":
    print(trigger_then_promote())
