"""Start the tests, leave the worker to others, and go on when Empirical's webhook comes.

The flow run suspends itself: it has no process until ``webhook_receiver.py`` resumes it. A webhook
is a hint to look, so the verdict is read from Empirical, and what is left of the run is waited for.
If none comes in time, the flow run fails; a person can resume it before.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``, and a
deployment: Prefect suspends no other flow runs.
"""

from __future__ import annotations

from prefect import flow, get_client, suspend_flow_run, task
from prefect.runtime import flow_run

from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run, wait_for_test_run


@task
def deploy(version: str, environment: str) -> str:
    """Put the version on an environment and say where it answers."""
    return f"https://{environment}.example.com/{version}/"


def expect_webhook(test_run_id: int) -> None:
    """Tag this flow run, so that the receiver finds it by the test run."""
    tags = {*flow_run.tags, f"empirical-test-run:{test_run_id}"}
    with get_client(sync_client=True) as prefect:
        prefect.update_flow_run(flow_run.id, tags=sorted(tags))


# A flow run that is resumed begins again: persisted results keep it from deploying twice, and the
# task that starts the tests goes on with the run there is.
@flow(name="resume-by-webhook", persist_result=True, result_serializer="json")
def resume_by_webhook(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    patience: int = 7200,
    poll_interval: float = 10.0,
) -> str:
    """Release a version, unless its tests are red: then this flow fails, and nothing goes live.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        patience: Seconds to wait for the webhook.
        poll_interval: Seconds between two looks at the test run, once the webhook has come.
    """
    empirical = EmpiricalCredentials.load(credentials)
    run = trigger_test_run(
        credentials=empirical,
        environment=environment,
        build={"url": deploy(version, environment), "version": version},
    )
    expect_webhook(run["id"])
    suspend_flow_run(timeout=patience)  # ends here, the first time
    verdict = wait_for_test_run(
        credentials=empirical, test_run_id=run["id"], poll_interval=poll_interval
    )
    return f"Live at {deploy(version, 'production')}. {verdict['summary']}"


if __name__ == "__main__":
    resume_by_webhook.serve(name="release")
