"""Before a release: would its test run be started at all? Nothing is started here.

The generator holds the decisions, and `driving` sends what it asks for.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from empirical_provider import project_endpoints
from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient
from empirical_provider.driving import adrive, drive
from empirical_provider.endpoints import MOST_PER_PAGE, Call
from empirical_provider.exceptions import (
    AuthenticationError,
    EmpiricalError,
    InvalidRequestError,
)
from empirical_provider.models import Environment, TestRunRequest

__all__ = ["PreflightReport", "apreflight", "preflight"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """What was found before a release; whatever is wrong raises instead.

    Attributes:
        environment: The environment that would be tested.
        unchecked: Fields of the request about which the API cannot tell whether they are right.
    """

    environment: Environment
    unchecked: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The report in one line."""
        found = self.environment
        left = f" Not checked: {', '.join(self.unchecked)}." if self.unchecked else ""
        return f"A test run in {found.slug} (environment {found.id}) can be started.{left}"

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"environment": asdict(self.environment), "unchecked": list(self.unchecked)}


def preflight(client: EmpiricalClient, request: TestRunRequest) -> PreflightReport:
    """Check that a test run could be started as requested, before anything is released.

    The key is tried, and the environment must be known and enabled. Tags, with or without "@", and
    test case ids must exist where the service lists test cases. It lists those of the default
    branch: with ``branch`` or ``build.branch``, one that is missing there counts as unchecked.
    Whether a branch exists, the API does not tell. No test run is started.

    Args:
        client: An open client.
        request: What would be run.

    Returns:
        The environment, and what could not be checked.

    Raises:
        InvalidRequestError: Something is wrong with the request; all of it is named, with the
            nearest environment for one that is not known.
        AuthenticationError: The key is not accepted.
        EmpiricalError: The service could not be asked.
    """
    steps = _steps(request, client._settings.project_id)  # noqa: SLF001  # of the same package
    return drive(steps, client._send)  # noqa: SLF001  # as above


async def apreflight(client: AsyncEmpiricalClient, request: TestRunRequest) -> PreflightReport:
    """Do what `preflight` does, with an async client."""
    steps = _steps(request, client._settings.project_id)  # noqa: SLF001  # of the same package
    return await adrive(steps, client._send)  # noqa: SLF001  # as above


def _steps(
    request: TestRunRequest, project_id: int | None
) -> Generator[Call[Any], Any, PreflightReport]:
    environments: list[Environment] = yield project_endpoints.list_environments(project_id)
    environment = _named(request.environment, environments)
    problems = [*_of_environment(request.environment, environment, environments)]
    unchecked = [] if request.branch is None else ["branch"]
    build_branch = getattr(request.build, "branch", None)
    for field in ("tags", "test_case_ids"):
        wanted = [*(getattr(request, field) or ())]
        try:
            missing = yield from _MISSING[field](wanted)
        except AuthenticationError:
            raise
        except EmpiricalError as error:  # an older service, say: that is no reason to stop
            log.info("Whether the %s exist cannot be told: %s", field, error)
            unchecked.append(field)
        else:
            if missing and (request.branch or build_branch):
                # The service lists the test cases of the default branch (fact N2).
                log.info("Of %s, %s may be on another branch: not checked.", field, missing)
                unchecked.append(field)
            else:
                problems += [f"{field} has {each!r}, which no test has." for each in missing]
    if problems or environment is None:
        raise InvalidRequestError(f"No test run could be started. {' '.join(problems)}")
    return PreflightReport(environment=environment, unchecked=tuple(unchecked))


def _named(slug: str, environments: Sequence[Environment]) -> Environment | None:
    return next((each for each in environments if each.slug == slug), None)


def _of_environment(
    slug: str, found: Environment | None, environments: Sequence[Environment]
) -> Iterator[str]:
    """Say what is wrong with the environment."""
    usable = [each.slug for each in environments if not each.is_disabled]
    known = f"The project has {', '.join(usable) or 'none that is enabled'}."
    if found is None:
        near = _nearest(slug, usable)
        hint = f" Did you mean {near!r}?" if near else ""
        yield f"environment {slug!r} is not known.{hint} {known}"
    elif found.is_disabled:
        yield f"environment {slug!r} is disabled. {known}"


def _nearest(slug: str, known: Sequence[str]) -> str | None:
    """Return the slug that was most likely meant, in other letters only if just one is."""
    near = difflib.get_close_matches(slug, known, n=1, cutoff=0.7)
    if near:
        return near[0]
    folded = [each.casefold() for each in known]
    near = difflib.get_close_matches(slug.casefold(), folded, n=1, cutoff=0.5)
    if not near or folded.count(near[0]) > 1:
        return None
    return known[folded.index(near[0])]


def _missing_tags(tags: Sequence[str]) -> Generator[Call[Any], Any, list[str]]:
    """Return the tags that no test has; each is asked for alone, as a list means any of them."""
    missing = []
    for tag in tags:
        for spelling in _spellings(tag):
            if (yield project_endpoints.list_test_cases(tag=spelling)):
                break
        else:
            missing.append(tag)
    return missing


def _spellings(tag: str) -> Iterator[str]:
    """Give a tag with and without "@": it is requested with one and listed without (fact N1)."""
    yield tag
    other = tag[1:] if tag.startswith("@") else f"@{tag}"
    if other:
        yield other


def _missing_ids(ids: Sequence[str]) -> Generator[Call[Any], Any, list[str]]:
    """Return the ids that no test has."""
    found: set[str] = set()
    for first in range(0, len(ids), MOST_PER_PAGE):
        some = ids[first : first + MOST_PER_PAGE]
        found |= {*(yield project_endpoints.list_test_cases(ids=some))}
    return [each for each in ids if each not in found]


_MISSING = {"tags": _missing_tags, "test_case_ids": _missing_ids}
