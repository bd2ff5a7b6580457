"""The query of the list endpoint: read it, and decide which runs it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .bodies import integer, text
from .errors import FieldError
from .runs import STATES, Run

__all__ = ["CaseQuery", "Query", "page_of", "whole_number"]

_DAY = 86_400
_MOST_DIGITS = 15


def whole_number(raw: str) -> int | None:
    """Read a non-negative integer of a sane length, or return None."""
    if raw.isascii() and raw.isdigit() and len(raw) <= _MOST_DIGITS:
        return int(raw)
    return None


@dataclass(frozen=True)
class Query:
    """Filters and page of one list request; None does not filter."""

    id: int | None = None
    page: int = 1
    per_page: int = 20
    branch: str | None = None
    interval_in_days: int | None = None
    state: str | None = None
    result: str | None = None
    environment_ids: frozenset[int] | None = None

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "Query":
        """Read query parameters; unknown ones are ignored.

        Raises:
            FieldError: A value is out of its range.
        """
        environments = params.get("environment_ids")
        state, result = params.get("state"), params.get("result")
        if state is not None:
            text(among=STATES)("state", state)
        if result is not None:
            text(among=("passed", "failed"))("result", result)
        return cls(
            id=_int(params, "id"),
            page=_int(params, "page") or 1,
            per_page=_int(params, "per_page", 100) or 20,
            branch=params.get("branch"),
            interval_in_days=_int(params, "interval_in_days"),
            state=state,
            result=result,
            environment_ids=None if environments is None else _ids(environments),
        )

    def matches(self, run: Run, now: float) -> bool:
        """Tell whether a run is among those asked for."""
        oldest = 0.0 if self.interval_in_days is None else now - self.interval_in_days * _DAY
        wanted = self.environment_ids
        return (
            self.id in (None, run.id)
            and self.branch in (None, run.branch)
            and self.state in (None, run.state)
            and run.created_at >= oldest
            and (wanted is None or run.environment.id in wanted)
            and (self.result is None or self._result_matches(run))
        )

    def _result_matches(self, run: Run) -> bool:
        verdict = "failed" if run.failed_after_snoozing else "passed"
        return run.state == "ended" and not run.is_partial and verdict == self.result


def page_of(params: Mapping[str, str], *, most: int) -> tuple[int, int]:
    """Read which page is asked for, and how long pages are.

    Raises:
        FieldError: A value is out of its range.
    """
    return _int(params, "page") or 1, _int(params, "per_page", most) or 20


@dataclass(frozen=True)
class CaseQuery:
    """Filters and page of one request for test cases; None does not filter."""

    page: int = 1
    per_page: int = 20
    ids: frozenset[str] | None = None
    tags: frozenset[str] | None = None

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "CaseQuery":
        """Read query parameters; unknown ones are ignored.

        Raises:
            FieldError: A value is out of its range.
        """
        return cls(
            page=_int(params, "page") or 1,
            per_page=_int(params, "per_page", 100) or 20,
            ids=frozenset(params["ids"].split(",")[:100]) if params.get("ids") else None,
            tags=frozenset(params["tags"].split(",")) if params.get("tags") else None,
        )

    def matches(self, case: Mapping[str, Any]) -> bool:
        """Tell whether a test case is among those asked for; of several tags, any will do."""
        return (self.ids is None or case["id"] in self.ids) and (
            self.tags is None or not self.tags.isdisjoint(case["tags"])
        )


def _int(params: Mapping[str, str], name: str, most: int | None = None) -> int | None:
    if name not in params:
        return None
    value = whole_number(params[name])
    if value is None:
        raise FieldError(name, f"must be an integer, not {params[name]!r}")
    integer(1, most)(name, value)
    return value


def _ids(raw: str) -> frozenset[int]:
    ids = [whole_number(part.strip()) for part in raw.split(",")]
    if None in ids:
        raise FieldError("environment_ids", f"must be integers with commas between, not {raw!r}")
    return frozenset(number for number in ids if number is not None)
