"""One test run for a release, however many flows wait for it: they share a key.

Each shop has a flow run of its own. The first one starts the run, the others go on with it, and all
have its verdict. Another release is tested anew; the same release with another build is refused.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

from prefect import flow

from empirical_provider.prefect import EmpiricalCredentials, run_tests


# A retry goes on with the run of the attempt before; so does a flow run that crashed, once it is
# retried.
@flow(name="promote-shop", retries=2, retry_delay_seconds=60)
def promote(
    shop: str,
    release: str = "1.4.2",
    credentials: str = "prod",
    poll_interval: float = 10.0,
) -> str:
    """Let a shop go live if the release is green, and say on which evidence.

    Args:
        shop: Name of the shop.
        release: What is released.
        credentials: Name of the Empirical Credentials block.
        poll_interval: Seconds between two looks at the test run.
    """
    verdict = run_tests(
        credentials=EmpiricalCredentials.load(credentials),
        environment="staging",
        build={"url": "https://staging.example.com/", "version": release},
        key=f"shop {release}",
        key_in_environment=True,  # lists show it, so that a lost answer is made good for sure
        poll_interval=poll_interval,
    )
    return f"The {shop} goes live: {verdict['summary']}"


if __name__ == "__main__":
    for each in ("north", "south"):
        print(promote(each))
