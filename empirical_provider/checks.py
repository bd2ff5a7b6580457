"""Checks of user input, shared by every place that takes some.

A check returns the value in the form the API wants or raises `InvalidRequestError` naming the
field, the type that was given and what is allowed. A value is named only where it cannot be secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import Secret

__all__ = [
    "LARGEST",
    "NOT_IN_A_LINE",
    "as_mapping",
    "flag",
    "http_url",
    "known_keys",
    "line",
    "list_of_ids",
    "list_of_lines",
    "named",
    "number",
    "one_of",
    "optional",
    "run_id",
    "scalar",
    "seconds",
    "text",
    "whole_number",
]

NOT_IN_A_LINE = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""What could forge another line of a log, steer a terminal, turn the order of what a person reads,
or be no character at all (half of a surrogate pair). Compiled when it is used: imports cost."""

_T = TypeVar("_T")

LARGEST = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

_MOST_SECONDS = 1e9
"""About thirty years: every clock and sleep can count so far."""

_LONGEST_QUOTE = 80


def _refuse(field: str, value: object, allowed: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field} must be {allowed}, not {_kind(value)}.")


def _kind(value: object) -> str:
    """Name a value's type; an empty or blank text is worth telling apart."""
    if isinstance(value, Secret):
        return _kind(str(value))
    if isinstance(value, str) and not value.strip():
        return "a blank str" if value else "an empty str"
    return "None" if value is None else type(value).__name__


def named(value: object) -> str:
    """Quote what is no secret in a message: printable, and not at any length."""
    quoted = repr(value)
    return quoted if len(quoted) <= _LONGEST_QUOTE else f"{quoted[:_LONGEST_QUOTE]}…"


def text(field: str, value: object) -> str:
    """Require a string with something in it that can be sent."""
    if not isinstance(value, str) or not value.strip():
        raise _refuse(field, value, "a non-empty string")
    return _sendable(field, value)


def line(field: str, value: object, *, longest: int | None = None) -> str:
    """Require one line of text without control characters, at most ``longest`` characters."""
    given = text(field, value)
    if longest is not None and len(given) > longest:
        raise InvalidRequestError(f"{field} must be 1 to {longest} characters, not {len(given)}.")
    unfit = re.search(NOT_IN_A_LINE, given)
    if unfit is not None:
        raise InvalidRequestError(
            f"{field} must be one line without control characters; the str given has "
            f"U+{ord(unfit[0]):04X} at position {unfit.start()}."
        )
    return given


def _sendable(field: str, value: str) -> str:
    """Require that UTF-8 can hold a text; return it as a plain one, also where it is an enum's."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        place = error.start
    else:
        return value if isinstance(value, Secret) else str.__str__(value)
    raise InvalidRequestError(
        f"{field} must be text that UTF-8 can hold; the str given has half of a surrogate pair at "
        f"position {place}."
    )


def flag(field: str, value: object) -> bool:
    """Require a boolean."""
    if not isinstance(value, bool):
        raise _refuse(field, value, "True or False")
    return value


def optional(check: Callable[[str, object], _T], field: str, value: object) -> _T | None:
    """Require None, or what a check requires."""
    return None if value is None else check(field, value)


def whole_number(field: str, value: object, *, at_least: int) -> int:
    """Require an integer (not a boolean) that is neither too small nor too large to be sent."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refuse(field, value, f"an integer of at least {at_least}")
    if value < at_least:
        raise InvalidRequestError(f"{field} must be at least {at_least}, not {_digits(value)}.")
    if value > LARGEST:
        raise InvalidRequestError(f"{field} must be at most {LARGEST}, not {_digits(value)}.")
    return int(value)  # a plain one, also where it is an enum's


def run_id(field: str, value: object) -> int:
    """Require the id of a test run: an integer, or the digits of one."""
    digits = isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,15}", value)
    given = int(digits[0]) if digits else value
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= LARGEST:
        return int(given)
    shown = _digits(given) if isinstance(given, int) else named(given)
    raise InvalidRequestError(
        f"{field} must be the id of a test run, a whole number of at least 1 or its digits, not "
        f"{shown} ({type(value).__name__})."
    )


def _digits(value: float) -> str:
    """Write a number for a message; Python does not write one of thousands of digits."""
    return str(value) if isinstance(value, float) or abs(value) < 10**20 else "a far larger one"


def number(field: str, value: object) -> float:
    """Require a number of seconds above zero that clocks can count."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _refuse(field, value, "a number above 0")
    if not (0 < value < math.inf):  # nor is nan
        raise InvalidRequestError(f"{field} must be a number above 0, not {_digits(value)}.")
    if value > _MOST_SECONDS:
        raise InvalidRequestError(
            f"{field} must be at most {_MOST_SECONDS:.0f} seconds, not {_digits(value)}."
        )
    return float(value)


def seconds(field: str, value: object) -> float:
    """Require a time above zero that clocks can count: a number of seconds, or a timedelta."""
    # Not by its class: its module is not loaded for a check.
    total = getattr(value, "total_seconds", None)
    return number(field, total() if callable(total) else value)


def scalar(field: str, value: object) -> str | int | float:
    """Require a string or a finite number: what the API's metadata may hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _refuse(field, value, "a string or a number")
    if isinstance(value, str):
        return _sendable(field, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(f"{field} must be a finite number, not {value}.")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InvalidRequestError(
            f"{field} must be a number of at most {LARGEST}, not {_digits(value)}: readers of "
            f"JSON round larger ones. Give it as a string."
        )
    return value


def one_of(field: str, value: object, allowed: Sequence[str]) -> str:
    """Require one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        given = named(value) if isinstance(value, str) else _kind(value)
        raise InvalidRequestError(f"{field} must be {' or '.join(allowed)}, not {given}.")
    return str.__str__(value)


def http_url(field: str, value: object) -> str:
    """Require an absolute http or https URL."""
    address = line(field, value)
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # for example an unclosed bracket of an IPv6 address
        usable = False
    if not usable or any(character.isspace() for character in address):
        raise InvalidRequestError(
            f"{field} must be an http or https URL with a host and without spaces; "
            f"the str given is none."
        )
    return address


def list_of_lines(field: str, value: object) -> tuple[str, ...]:
    """Require a non-empty list of lines of text; a bare string is refused."""
    items = _items(field, value, "a list of strings")
    return tuple(line(f"{field}[{place}]", item) for place, item in enumerate(items))


def list_of_ids(field: str, value: object) -> tuple[int, ...]:
    """Require a non-empty list of integers of at least 1."""
    items = _items(field, value, "a list of integers")
    return tuple(
        whole_number(f"{field}[{place}]", item, at_least=1) for place, item in enumerate(items)
    )


def _items(field: str, value: object, allowed: str) -> list[object]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _refuse(field, value, allowed)
    items = list(value)
    if not items:
        raise InvalidRequestError(
            f"{field} must name at least one; leave it out to choose nothing in particular."
        )
    return items


def as_mapping(field: str, value: object) -> Mapping[str, Any]:
    """Require a mapping whose keys are lines of text."""
    if not isinstance(value, Mapping):
        raise _refuse(field, value, "a mapping")
    for key in value:
        line(f"a key of {field}", key)
    return value


def known_keys(field: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that nothing here knows, with the nearest known one as a hint."""
    for key in given:
        if key not in known:
            import difflib  # noqa: PLC0415  # only for a message

            near = difflib.get_close_matches(str(key)[:_LONGEST_QUOTE], known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidRequestError(
                f"{field} has the unknown key {named(key)}; known are {', '.join(known)}.{hint}"
            )
