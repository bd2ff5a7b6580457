"""The task that finds what would keep a test run from starting, and its async twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from empirical_provider.prefect.arguments import acredentials_of, credentials_of
from empirical_provider.prefect.credentials import EmpiricalCredentials
from empirical_provider.prefect.tasks import is_retryable

if TYPE_CHECKING:
    from empirical_provider.request import Build, TestRunRequest

__all__ = ["apreflight", "preflight"]

_OPTIONS: dict[str, Any] = {
    "name": "preflight",
    "description": "Find what would keep a test run from starting, before the release.",
    "cache_policy": NO_CACHE,  # a key can die, and an environment be disabled, at any time
    "retry_condition_fn": is_retryable,
    "viz_return_value": {"environment": {}, "unchecked": []},  # as in `tasks`
}


@task(**_OPTIONS)
def preflight(
    *,
    credentials: EmpiricalCredentials | str,
    environment: str,
    build: Build | Mapping[str, str] | None = None,
    branch: str | None = None,
    tags: Iterable[str] | None = None,
    test_case_ids: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Fail before the release if its test run could not be started; it starts nothing.

    The key is tried, and the environment must be known and enabled. Tags and test case ids must
    exist, where the service lists test cases.

    Args:
        credentials: The block with the API key, or its name if it is saved.
        environment: Slug of the environment that will be tested.
        build: The application build that will be tested: url, branch, commit, commit_url, version.
        branch: Branch of the test repository; default: none is named. With one, or with
            ``build.branch``, tests that are missing from the default branch are unchecked.
        tags: Tags of the tests that will run; default: all tests.
        test_case_ids: Ids of the tests that will run; default: all.

    Returns:
        ``environment`` (id, slug, name, is_default, is_disabled) and ``unchecked``, the fields
        about which the API cannot tell, such as ``branch``.

    Raises:
        InvalidRequestError: Something is wrong; all of it is named, with the nearest environment
            for one that is not known.
        AuthenticationError: The key is not accepted.
        EmpiricalError: The service could not be asked.
    """
    from empirical_provider import preflighting  # light until used

    credentials = credentials_of(credentials)
    request = _request(environment, build, branch, tags, test_case_ids)
    with credentials.get_client() as client:
        report = preflighting.preflight(client, request)
    credentials.logger.info("%s", report.summary)
    return report.as_dict()


@task(**_OPTIONS)
async def apreflight(
    *,
    credentials: EmpiricalCredentials | str,
    environment: str,
    build: Build | Mapping[str, str] | None = None,
    branch: str | None = None,
    tags: Iterable[str] | None = None,
    test_case_ids: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Do what `preflight` does, for use with ``await`` in an async flow."""
    from empirical_provider import preflighting  # light until used

    credentials = await acredentials_of(credentials)
    request = _request(environment, build, branch, tags, test_case_ids)
    async with credentials.get_async_client() as client:
        report = await preflighting.apreflight(client, request)
    credentials.logger.info("%s", report.summary)
    return report.as_dict()


def _request(
    environment: str,
    build: Build | Mapping[str, str] | None,
    branch: str | None,
    tags: Iterable[str] | None,
    test_case_ids: Iterable[str] | None,
) -> TestRunRequest:
    from empirical_provider.request import TestRunRequest

    return TestRunRequest(
        environment=environment,
        build=build,
        branch=branch,
        tags=tags,
        test_case_ids=test_case_ids,
    )
