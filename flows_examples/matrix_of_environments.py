"""Test one release in several environments at once: one gate each, in one process.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

import asyncio

from prefect import flow

from empirical_provider.prefect import EmpiricalCredentials, arun_tests


@flow(name="matrix-of-environments", log_prints=True)
async def matrix_of_environments(
    environments: tuple[str, ...] = ("production", "staging"),
    credentials: str = "prod",
    version: str = "1.0.0",
    poll_interval: float = 10.0,
) -> str:
    """Go live if every gate is open; tell of all that are closed, and fail by the first of them.

    Args:
        environments: Slugs of the environments to test.
        credentials: Name of the Empirical Credentials block.
        version: What is released.
        poll_interval: Seconds between two looks at the test runs.
    """
    empirical = await EmpiricalCredentials.aload(credentials)
    gates = (
        arun_tests(
            credentials=empirical,
            environment=environment,
            metadata={"release": version},
            poll_interval=poll_interval,
        )
        for environment in environments
    )
    ended = await asyncio.gather(*gates, return_exceptions=True)  # a verdict each, or an error
    closed = [each for each in ended if isinstance(each, BaseException)]
    for each in closed:
        print(f"Not live: {each}")
    if closed:
        raise closed[0]
    told = [each["summary"] for each in ended if not isinstance(each, BaseException)]
    return f"Live: {' '.join(told)}"


if __name__ == "__main__":
    print(asyncio.run(matrix_of_environments()))
