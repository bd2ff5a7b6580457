"""Check request bodies strictly: a user's typo should show here, not in production.

A check is a function of a field's name and value that raises `FieldError`;
the check of a whole body is made of checks of its fields.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import FieldError

__all__ = [
    "CANCEL",
    "RERUN",
    "TRIGGER",
    "Check",
    "boolean",
    "check_trigger",
    "integer",
    "nullable",
    "number",
    "parse",
    "record",
    "text",
]

Check = Callable[[str, Any], None]


def parse(raw: bytes) -> Any:
    """Read a JSON body; no bytes at all mean an empty object.

    What Python reads although it is no JSON, or cannot be written again, is refused as well:
    NaN, numbers too large for a float, lone surrogates.

    Raises:
        FieldError: The bytes are not JSON.
    """
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as exc:
        raise FieldError("", f"the body is not JSON: {exc}") from exc
    return value


def text(*, shortest: int = 1, longest: int | None = None, among: Sequence[str] = ()) -> Check:
    """Make a check for a string, optionally one of a few."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise FieldError(name, f"must be a string, not {_kind(value)}")
        if among and value not in among:
            raise FieldError(name, f"must be one of {', '.join(among)}, not {value!r}")
        if len(value) < shortest:
            raise FieldError(name, "must not be empty")
        if longest is not None and len(value) > longest:
            raise FieldError(name, f"must have at most {longest} characters, has {len(value)}")

    return check


def integer(least: int, most: int | None = None) -> Check:
    """Make a check for a whole number; `true` is not one."""

    def check(name: str, value: Any) -> None:
        if type(value) is not int:
            raise FieldError(name, f"must be an integer, not {_kind(value)}")
        if value < least or (most is not None and value > most):
            limit = f"at least {least}" if most is None else f"from {least} to {most}"
            raise FieldError(name, f"must be {limit}, not {value}")

    return check


def number(most: float, *, least: float = 0) -> Check:
    """Make a check for a finite number in a range."""

    def check(name: str, value: Any) -> None:
        if type(value) not in (int, float):
            raise FieldError(name, f"must be a number, not {_kind(value)}")
        if not (math.isfinite(value) and least <= value <= most):
            raise FieldError(name, f"must be from {least:g} to {most:g}, not {value}")

    return check


def boolean(name: str, value: Any) -> None:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise FieldError(name, f"must be true or false, not {_kind(value)}")


def nullable(check: Check) -> Check:
    """Make a check that lets null through."""

    def check_unless_null(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return check_unless_null


def record(*, required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """Make a check for an object with these fields and no others."""
    known = {**required, **optional}

    def check(name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise FieldError(name, f"must be an object, not {_kind(value)}")
        prefix = f"{name}." if name else ""
        for key in value:
            if key not in known:
                raise FieldError(f"{prefix}{key}", f"unknown field; known: {', '.join(known)}")
        for key in required:
            if key not in value:
                raise FieldError(f"{prefix}{key}", "is required")
        for key, item in value.items():
            known[key](f"{prefix}{key}", item)

    return check


def check_trigger(body: Any) -> None:
    """Check the body of a trigger, including the rules between its fields.

    Raises:
        FieldError: The first thing that is wrong.
    """
    TRIGGER("", body)
    if "build" in body and "branch" in body:
        raise FieldError("branch", "cannot be given together with build")
    if body.get("rerun_only_failed") and "rerun_source_id" not in body:
        raise FieldError("rerun_only_failed", "needs rerun_source_id")


def _kind(value: Any) -> str:
    """Name a value's type the way JSON does."""
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")


def _list_of(check: Check) -> Check:
    def check_list(name: str, value: Any) -> None:
        if not isinstance(value, list):
            raise FieldError(name, f"must be an array, not {_kind(value)}")
        for position, item in enumerate(value):
            check(f"{name}[{position}]", item)

    return check_list


def _metadata(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise FieldError(name, f"must be an object, not {_kind(value)}")
    for key, item in value.items():
        if type(item) not in (str, int, float):
            raise FieldError(f"{name}.{key}", f"must be a string or a number, not {_kind(item)}")


_ANY_TEXT = text(shortest=0)

TRIGGER = record(
    required={"environment": text()},
    optional={
        "build": record(
            required={},
            optional=dict.fromkeys(("url", "branch", "commit", "commit_url", "version"), _ANY_TEXT),
        ),
        "metadata": _metadata,
        "environment_variables_overrides": _list_of(
            record(required={"name": text(), "value": _ANY_TEXT}, optional={})
        ),
        "tags": _list_of(text()),
        "branch": text(),
        "project_id": integer(1),
        "send_notifications": boolean,
        "total_shards": integer(1),
        "rerun_source_id": integer(1),
        "rerun_only_failed": boolean,
        "github_actor": _ANY_TEXT,
        "test_case_ids": _list_of(text()),
        "concurrency": nullable(
            record(
                required={
                    "group": text(longest=512),
                    "on_conflict": text(among=("cancel", "wait")),
                },
                optional={},
            )
        ),
    },
)
RERUN = record(required={}, optional={"only_failed": boolean, "send_notifications": boolean})
CANCEL = record(required={}, optional={"reason": _ANY_TEXT})
