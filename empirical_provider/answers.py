"""Reading the JSON of an answer. What the service does not document is read tolerantly.

Each text that is read is one line that can be shown anywhere: in a log, a terminal, a database.

Counts, names and even the state may be missing, and a run may come in any of several shapes. Only
the id of a run is never guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from empirical_provider import checks
from empirical_provider.models import TestResult, TestRun, TestRunState
from empirical_provider.trigger_key import METADATA_KEY, VARIABLE, is_elsewhere

__all__ = [
    "Refused",
    "Unreadable",
    "array",
    "data_of",
    "detail_of",
    "flag",
    "integer",
    "is_integer",
    "mapping",
    "needed_text",
    "positive_id",
    "run_of_refusal",
    "started_run",
    "test_run",
    "tests",
    "text",
]


class Unreadable(Exception):  # noqa: N818  # never leaves the package: the client gives it a context
    """The answer lacks something or holds what it cannot hold; the text says what.

    ``run`` is the run that was asked for, as far as it could be read, where it has ended.
    """

    def __init__(self, words: str, run: TestRun | None = None) -> None:
        super().__init__(words)
        self.run = run


class Refused(Exception):  # noqa: N818  # as above
    """The service says in a 2xx answer that no run was started; ``run`` is the one it names."""

    def __init__(self, words: str, run: TestRun | None) -> None:
        super().__init__(words)
        self.run = run


def started_run(
    answer: Any,
    *,
    environment: str | None = None,
    key: str | None = None,
    rerun_of: int | None = None,
) -> TestRun:
    """Read the answer to a request that starts a run: it must say that it did, and which.

    An answer to another request (from a proxy that replays, or left over on a connection) names a
    run that cannot be the one.

    Args:
        answer: The answer.
        environment: Slug of the environment that was asked for; None: not known.
        key: The key that the request held.
        rerun_of: The run that was to be repeated.
    """
    data = data_of(answer)
    run = None
    if data.get("test_run") is not None:
        run = test_run(mapping(data["test_run"], "data.test_run"), "data.test_run")
        _refuse_another_run(run, environment, key, rerun_of)
    outcome = data.get("trigger")
    if isinstance(outcome, Mapping) and outcome.get("success", True) is not True:
        raise Refused("data.trigger.success is not true", run)
    if run is None:
        raise Unreadable("data.test_run is missing, so the id of the run is not known")
    if run.state == TestRunState.ERROR:
        raise Refused("the run is already in state error", run)
    return run


def _refuse_another_run(
    run: TestRun, environment: str | None, key: str | None, rerun_of: int | None
) -> None:
    """Refuse a run that cannot have been started by the request that is answered."""
    why = None
    if run.state in {TestRunState.ENDED, TestRunState.CANCELLED}:
        why = f"is {run.state} already"
    elif is_elsewhere(run, environment):
        why = f"is in the environment {run.environment!r}"
    elif run.trigger_key not in {None, key} and rerun_of is None:
        why = "was started under another key"
    elif run.rerun_source_id not in {None, rerun_of}:
        why = f"repeats test run {run.rerun_source_id}"
    if why is not None:
        raise Unreadable(f"it names test run {run.id}, which {why}")


def run_of_refusal(answer: Any) -> TestRun | None:
    """Return the run that an answer names which says no, if it names any."""
    try:
        row = mapping(data_of(answer).get("test_run"), "data.test_run")
        return test_run(row, "data.test_run")
    except Unreadable:
        return None


_RUN = ("test_run", "testRun")
_TESTS = ("flattenedSummaryDetails", "flattened_summary_details")


def detail_of(answer: Any) -> tuple[Mapping[str, Any], str, tuple[TestResult, ...], str | None]:
    """Find a run in the answer about it: its row, where that stands, its tests, the project's slug.

    The row is ``data.test_run.testRun`` or stands in fewer of these, or in snake_case. What goes
    with it stands in any of the objects around it.
    """
    row, where = mapping(answer, "the answer"), "the answer"
    levels = [row]
    for names in (("data",), _RUN, _RUN):
        found = [name for name in names if row.get(name) is not None]
        if len(found) > 1:
            raise Unreadable(f"{where} has both {' and '.join(found)}")
        for name in found:
            where = name if row is answer else f"{where}.{name}"
            row = mapping(row[name], where)
            levels.append(row)
    listed = [each.get(name) for each in levels for name in _TESTS]
    rows = [each for some in listed if isinstance(some, list) for each in some]
    projects = [each["project"] for each in levels if isinstance(each.get("project"), Mapping)]
    slugs = [slug for project in projects if (slug := text(project, "slug"))]
    return row, where, tests(rows), slugs[0] if slugs else None


def test_run(row: Mapping[str, Any], where: str) -> TestRun:
    """Read a run from its row in an answer."""
    metadata, overrides = row.get("metadata"), _overrides(row)
    return TestRun(
        id=positive_id(row, where),
        state=TestRunState(text(row, "state") or "unknown"),  # some lists leave it out
        branch=text(row, "test_run_branch"),
        created_at=text(row, "created_at"),
        project_id=integer(row, "project_id"),
        environment=text(row, "environment_slug"),
        commit=text(row, "commit"),
        total_count=integer(row, "total_count"),
        success_count=integer(row, "success_count"),
        failed_count=integer(row, "failed_count"),
        failed_count_after_snoozing=integer(row, "failed_count_after_snoozing"),
        skipped_count=integer(row, "skipped_count"),
        flaky_count=integer(row, "flaky_count"),
        duration=number(row, "duration"),
        error_code=text(row, "error_code"),
        rerun_source_id=integer(row, "rerun_source_id"),
        superseded_by_test_run_id=integer(row, "superseded_by_test_run_id"),
        metadata=_flat(metadata),
        override_names=None if overrides is None else tuple(overrides),
        trigger_key=_trigger_key(metadata, overrides or {}),
        shown=frozenset(row),
        invalid=_invalid(row),
    )


def _invalid(row: Mapping[str, Any]) -> frozenset[str]:
    """Name the fields that say something which cannot be read, where None would mislead."""
    readable = {
        "commit": isinstance(row.get("commit"), str),
        "rerun_source_id": is_integer(row.get("rerun_source_id")),
    }
    return frozenset(
        name for name, is_so in readable.items() if not is_so and row.get(name) is not None
    )


def _flat(metadata: Any) -> dict[str, Any] | None:
    """Read metadata, which are flat: of what is nested without end no one could make a text."""
    if not isinstance(metadata, Mapping):
        return None
    return {
        name: value if isinstance(value, (str, int, float)) else None
        for name, value in metadata.items()
    }


def _overrides(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the variables that a run overrides, by name; None where it does not tell."""
    given = row.get("environment_variables_overrides")
    if not isinstance(given, list):
        return None
    named = [each for each in given if isinstance(each, Mapping) and text(each, "name")]
    return {_line(each["name"]): each.get("value") for each in named}


def _trigger_key(metadata: Any, overrides: Mapping[str, Any]) -> str | None:
    """Find the key that a run was started under in either of the places where it is put."""
    shown = text(metadata, METADATA_KEY) if isinstance(metadata, Mapping) else None
    return shown or text(overrides, VARIABLE)


def tests(rows: Any) -> tuple[TestResult, ...]:
    """Read the tests one by one. A row that cannot be read is a test, too, of unknown status."""
    tests = []
    for each in rows if isinstance(rows, list) else []:
        row = each if isinstance(each, Mapping) else {}
        nesting, status = row.get("nesting"), text(row, "status")
        titles = [_line(title) for title in nesting] if isinstance(nesting, list) else []
        tests.append(
            TestResult(
                name=" > ".join(titles) or text(row, "name") or "(no name)",
                status="unknown" if status is None else status,
                pw_test_id=text(row, "pw_test_id"),
                snoozed=_is_snoozed(row.get("snooze_info")),
            )
        )
    return tuple(tests)


def _is_snoozed(info: Any) -> bool:
    """Say whether there is a snooze: a word or a number that may mean none is not taken for one."""
    snoozes = info if isinstance(info, list) else [info]
    return any(isinstance(each, Mapping) and each for each in snoozes)


def data_of(answer: Any) -> Mapping[str, Any]:
    """Return what the envelope holds."""
    return mapping(mapping(answer, "the answer").get("data"), "data")


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Require a JSON object."""
    if not isinstance(value, Mapping):
        raise Unreadable(f"{where} is no JSON object")
    return value


def array(value: Any, where: str) -> list[Any]:
    """Require a JSON array."""
    if not isinstance(value, list):
        raise Unreadable(f"{where} is no JSON array")
    return value


def positive_id(row: Mapping[str, Any], where: str) -> int:
    """Require the id of a row."""
    value = integer(row, "id")
    if value is None or value < 1:
        raise Unreadable(f"{where}.id is no positive integer")
    return value


def needed_text(row: Mapping[str, Any], name: str, where: str) -> str:
    """Require a text with something in it."""
    value = text(row, name)
    if not value:
        raise Unreadable(f"{where}.{name} is no text")
    return value


def text(row: Mapping[str, Any], name: str) -> str | None:
    """Return a text, or None where there is none."""
    value = row.get(name)
    return _line(value) if isinstance(value, str) else None


def _line(value: object) -> str:
    return re.sub(checks.NOT_IN_A_LINE, " ", str(value))


def integer(row: Mapping[str, Any], name: str) -> int | None:
    """Return an integer that JSON can carry, or None where there is none."""
    value = row.get(name)
    return value if is_integer(value) else None


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer that every reader of JSON takes for the same."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= checks.LARGEST


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Return a number, or None where there is none."""
    value = row.get(name)
    if not (isinstance(value, float) or is_integer(value)):
        return None
    return value if math.isfinite(value) else None  # JSON's 1e999 is no number to hand on


def flag(row: Mapping[str, Any], name: str) -> bool | None:
    """Return a boolean, or None where there is none."""
    value = row.get(name)
    return value if isinstance(value, bool) else None
