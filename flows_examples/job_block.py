"""Save once what to test, as a block; run it from a flow that knows only its name.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

import asyncio

from prefect import flow

from empirical_provider import VerdictDict
from empirical_provider.prefect import EmpiricalCredentials, EmpiricalTestJob


@flow(name="job-block")
async def check_release(job: str = "smoke", version: str = "1.0.0") -> VerdictDict:
    """Run the saved tests on a version and return the verdict; red fails the flow.

    Args:
        job: Name of the Empirical Test Job block.
        version: Version to test.
    """
    saved = await EmpiricalTestJob.aload(job)
    run = await saved.atrigger(build={"version": version})
    print(f"Started: {await run.aurl()}")
    await run.await_for_completion()
    return await run.afetch_result()


if __name__ == "__main__":
    EmpiricalTestJob(
        credentials=EmpiricalCredentials.load("prod"),
        environment="staging",
        tags=["@smoke"],
        policy={"max_flaky": 1},
        poll_interval=10,
    ).save("smoke", overwrite=True)
    print(asyncio.run(check_release())["summary"])
