"""Use a saved job in another deployment: it names the block, and says what is special.

Needs a saved block of type Empirical Test Job with the name ``smoke``; ``job_block.py`` saves one.
``python shared_job.py serve`` serves the deployment, which runs each night, and whenever somebody
asks for it::

    prefect deployment run shared-job/nightly --watch
"""

from __future__ import annotations

import sys

from prefect import flow

from empirical_provider.prefect import EmpiricalTestJob


@flow(name="shared-job")
def shared_job(job: str = "smoke", environment: str | None = None) -> str:
    """Run the tests of a saved job, and fail unless they passed.

    Args:
        job: Name of the Empirical Test Job block.
        environment: Slug of the environment to test; default: that of the block.
    """
    run = EmpiricalTestJob.load(job).trigger(environment=environment)
    run.wait_for_completion()
    return run.fetch_result()["summary"]


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        shared_job.serve("nightly", cron="0 3 * * *", parameters={"environment": "production"})
    else:
        print(shared_job(environment="production"))
