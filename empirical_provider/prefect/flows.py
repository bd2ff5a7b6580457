"""A ready flow for those who want a gate and no code: deploy it, and run it after each release."""

# Annotations are real ones here: Prefect reads them where this module's names are not known.

from typing import Any, Literal

from prefect import flow
from prefect.states import Completed

from empirical_provider.prefect.cancelling import cancel_test_runs_on_cancellation
from empirical_provider.prefect.job import AfterRed
from empirical_provider.prefect.running import run_tests
from empirical_provider.verdict import VerdictDict

__all__ = ["run_empirical_tests"]


@flow(
    name="run-empirical-tests",
    persist_result=True,
    result_serializer="json",
    on_cancellation=[cancel_test_runs_on_cancellation],
)
def run_empirical_tests(
    *,
    credentials: str,
    environment: str,
    build: dict[str, str] | None = None,
    branch: str | None = None,
    metadata: dict[str, str | int | float] | None = None,
    tags: list[str] | None = None,
    test_case_ids: list[str] | None = None,
    total_shards: int | None = None,
    send_notifications: bool | None = None,
    github_actor: str | None = None,
    concurrency: dict[str, str] | Literal[False] | None = None,
    key: str | None = None,
    key_in_environment: bool | None = None,
    on_retry_after_red: AfterRed = "fail",
    policy: dict[str, Any] | None = None,
    poll_interval: float = 10.0,
    timeout: float = 7200.0,
    start_timeout: float | None = None,
    expect_commit: str | bool = True,
    cancel_on_cancellation: bool | None = None,
    report_path: str | None = None,
) -> VerdictDict:
    """Start a test run on Empirical, wait for it, and fail unless its tests passed.

    The final state's message names the run and says what became of it, and its data is the
    verdict. Prefect stores and shows parameters as they are, so there is none for an API key or
    for environment variables of the tests: a flow of your own can take those from Secret blocks.

    Args:
        credentials: Name of a saved Empirical Credentials block.
        environment: Slug of the environment to test.
        build: The application build under test: url, branch, commit, commit_url, version.
        branch: Branch of the test repository; not together with a build.
        metadata: Shown with the run; values are strings or numbers.
        tags: Only tests that match these tags run.
        test_case_ids: Only these tests run.
        total_shards: Number of shards, at least 1.
        send_notifications: Whether Empirical sends its notifications.
        github_actor: GitHub login that is shown as the person who started the run.
        concurrency: Fields of the concurrency: group, on_conflict; False: out of the shared queue.
        key: What the run is for, such as a release id: flow runs with the same key share the run,
            for a day.
        key_in_environment: Whether the key travels in the environment of the tests, too; default
            yes.
        on_retry_after_red: What a retry of the flow run makes of red tests: fail (the default)
            takes them over, rerun_failed re-runs those that failed, rerun_all all.
        policy: What to do about each outcome; by default everything but passed fails.
        poll_interval: Seconds between two looks at the run; default 10.
        timeout: Seconds after which to stop waiting for the run; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default: any.
        expect_commit: The commit that must have been tested; by default that of the build.
        cancel_on_cancellation: Whether to cancel the test run when the flow run is cancelled;
            default: yes, unless there is a key.
        report_path: Where to write the report on the verdict, also a red one: a local path or a URL
            of fsspec, JSON if it ends in .json and JUnit XML otherwise; default: nowhere.

    Returns:
        The verdict, also where the policy says skip: its decision says which.

    Raises:
        GateClosedError: The gate stays closed; the flow run fails with a message about the run.
        EmpiricalError: Whatever else `run_tests` raises.
    """
    verdict = run_tests(**locals())
    # Prefect hands on a state's data as what the flow returns, and shows its message.
    return Completed(message=verdict["summary"], data=verdict)  # type: ignore[return-value]
