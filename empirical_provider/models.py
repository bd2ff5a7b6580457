"""What Empirical answers, as plain frozen data; the models of a request stand in `request`.

What is not known here (a new state, a missing count) is kept instead of failing on it.
Names that start with "Test" carry ``__test__ = False``: pytest would collect them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from empirical_provider.request import Build, Concurrency, EnvironmentVariable, TestRunRequest

__all__ = [
    "Build",
    "Concurrency",
    "Environment",
    "EnvironmentVariable",
    "Project",
    "TestResult",
    "TestRun",
    "TestRunRequest",
    "TestRunState",
]


class TestRunState(StrEnum):
    """State of a test run, as the API has it. One that is not listed here is kept as it came.

    A run begins ``pending`` or ``queued``, and is ``started`` while its tests run. It comes to rest
    when it has ``ended``, with a result, is in ``error``, without a usable one, or ``cancelled``,
    before which it may be ``cancelling``.
    """

    __test__ = False

    PENDING = "pending"
    QUEUED = "queued"
    STARTED = "started"
    ENDED = "ended"
    ERROR = "error"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @classmethod
    def _missing_(cls, value: object) -> TestRunState | None:
        """Keep an unknown state as data: a member in all but the list of members."""
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = "UNKNOWN"
        member._value_ = value
        return member

    @property
    def is_known(self) -> bool:
        """Whether the documentation lists this state."""
        return self.name != "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        """Whether the run will not change any more; an unknown state never is."""
        return self in {TestRunState.ENDED, TestRunState.ERROR, TestRunState.CANCELLED}

    @property
    def is_without_verdict(self) -> bool:
        """Whether the run is over and its tests said nothing: another may take its place."""
        return self in {TestRunState.ERROR, TestRunState.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """How one test of a run went.

    Attributes:
        name: Title of the test, with the titles around it.
        status: The API's word: ``passed``, ``failed``, ``flaky``, ``skipped``, or another one;
            ``unknown`` where the response has none.
        pw_test_id: Empirical's id of the test case.
        snoozed: Whether a snooze covers the test.
    """

    __test__ = False

    name: str
    status: str
    pw_test_id: str | None = None
    snoozed: bool = False

    @property
    def kind(self) -> str:
        """What the status amounts to, in any case of letters and in Playwright's words, too.

        ``passed``, ``failed``, ``flaky`` or ``skipped``; empty for every other word: a gate does
        not open on a test whose result is not understood.
        """
        return _KINDS.get(self.status.lower(), "")


_KINDS = {
    "passed": "passed",
    "expected": "passed",
    "failed": "failed",
    "flaky": "flaky",
    "skipped": "skipped",
    "fixme": "skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """A test run, as far as the answer at hand tells; what it does not tell is ``None``.

    Attributes:
        id: Database id, a positive integer.
        state: Where the run is in its life.
        url: Dashboard page, once the project's slug is known.
        branch: Branch of the test repository (``test_run_branch``).
        created_at: ISO 8601 time in UTC, as the service wrote it.
        project_id: Id of the project.
        project_slug: Slug of the project, as in the dashboard's URLs.
        environment: Slug of the environment.
        commit: Commit of the build.
        total_count: Number of tests that were executed.
        success_count: Number of tests that passed.
        failed_count: Number of tests that failed, snoozed ones included.
        failed_count_after_snoozing: Number of tests that failed and are not snoozed.
        skipped_count: Number of tests that were skipped.
        flaky_count: Number of tests that failed first and passed on a retry.
        duration: Duration as the API gives it; its unit is not documented.
        error_code: Why a run in state ``error`` has no result.
        rerun_source_id: Id of the run that this one repeats.
        superseded_by_test_run_id: Id of the run that took this one's place, or repeated it later.
        is_superseded: Whether that run was read, is newer and is no re-run of this one. Nothing but
            a wait and its like finds that out; it takes a request of its own.
        metadata: What the request said about itself.
        override_names: Names of the environment variables that the request overrode; their values
            are not kept.
        trigger_key: The key that the run was started under, where it shows one.
        shown: Names of all the fields that the answer had: None in one of them is then an answer.
        invalid: Names of those among them whose value is not of their type, where that matters.
        inconsistency: What cannot be true of a run that has ended, if anything; it opens no gate.
        tests: The tests one by one, where the answer lists them.
    """

    __test__ = False

    id: int
    state: TestRunState
    url: str | None = None
    branch: str | None = None
    created_at: str | None = None
    project_id: int | None = None
    project_slug: str | None = None
    environment: str | None = None
    commit: str | None = None
    total_count: int | None = None
    success_count: int | None = None
    failed_count: int | None = None
    failed_count_after_snoozing: int | None = None
    skipped_count: int | None = None
    flaky_count: int | None = None
    duration: float | None = None
    error_code: str | None = None
    rerun_source_id: int | None = None
    superseded_by_test_run_id: int | None = None
    is_superseded: bool = False
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)
    override_names: tuple[str, ...] | None = None
    trigger_key: str | None = None
    shown: frozenset[str] = field(default=frozenset(), repr=False)
    invalid: frozenset[str] = field(default=frozenset(), repr=False)
    inconsistency: str | None = None
    tests: tuple[TestResult, ...] = ()

    @property
    def created(self) -> datetime | None:
        """When the run was created, by the service's clock; None where that makes no sense."""
        try:
            moment = datetime.fromisoformat(self.created_at or "")
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def as_dict(self) -> dict[str, Any]:
        """Return what a later step of a pipeline needs: id, state, url, branch, created_at."""
        return {
            "id": self.id,
            "state": str(self.state),
            "url": self.url,
            "branch": self.branch,
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment of a project, as the service lists it.

    Attributes:
        id: Database id, for the filter of `EmpiricalClient.list_test_runs`.
        slug: What a request names it by.
        name: What people call it; None: not told.
        is_default: Whether it is the project's default; None: not told.
        is_disabled: Whether it takes no new runs; None: not told.
    """

    id: int
    slug: str
    name: str | None = None
    is_default: bool | None = None
    is_disabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project.

    Attributes:
        id: Database id.
        slug: Its name in the dashboard's URLs.
        name: What people call it; None: not told.
    """

    id: int
    slug: str
    name: str | None = None
