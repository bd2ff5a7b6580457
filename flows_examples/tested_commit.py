"""Release only the commit that was tested: the run is somebody else's, so that may be another one.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow, task

from empirical_provider.prefect import EmpiricalCredentials, wait_for_test_run


@task
def release(commit: str) -> str:
    """Deploy the commit."""
    return f"Live: {commit}"


@flow(name="tested-commit")
def release_tested_commit(
    test_run_id: int, commit: str, credentials: str = "prod", poll_interval: float = 10.0
) -> str:
    """Release a commit, unless its tests are red or the run has tested another one.

    Args:
        test_run_id: Id of the run that somebody has started.
        commit: The commit to release.
        credentials: Name of the Empirical Credentials block.
        poll_interval: Seconds between two looks at the test run.
    """
    wait_for_test_run(
        credentials=EmpiricalCredentials.load(credentials),
        test_run_id=test_run_id,
        expect_commit=commit,
        poll_interval=poll_interval,
    )
    return release(commit)
