"""Checks of user input, shared by every place that takes some.

A check returns the value in the form the API wants or raises `InvalidRequestError` naming the
field, the type that was given and what is allowed. A value is named only where it cannot be secret.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from empirical_provider.exceptions import InvalidRequestError

__all__ = [
    "as_mapping",
    "flag",
    "http_url",
    "known_keys",
    "list_of_text",
    "number",
    "one_of",
    "scalar",
    "text",
    "whole_number",
]


def _refuse(field: str, value: object, allowed: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field} must be {allowed}, not {_kind(value)}.")


def _kind(value: object) -> str:
    """Name a value's type; an empty or blank text is worth telling apart."""
    if isinstance(value, str) and not value.strip():
        return "a blank str" if value else "an empty str"
    return "None" if value is None else type(value).__name__


def text(field: str, value: object, *, longest: int | None = None) -> str:
    """Require a string with something in it, at most ``longest`` characters."""
    if not isinstance(value, str) or not value.strip():
        raise _refuse(field, value, "a non-empty string")
    if longest is not None and len(value) > longest:
        raise InvalidRequestError(f"{field} must be 1 to {longest} characters, not {len(value)}.")
    return value


def flag(field: str, value: object) -> bool:
    """Require a boolean."""
    if not isinstance(value, bool):
        raise _refuse(field, value, "True or False")
    return value


def whole_number(field: str, value: object, *, at_least: int) -> int:
    """Require an integer (not a boolean) that is not too small."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refuse(field, value, f"an integer of at least {at_least}")
    if value < at_least:
        raise InvalidRequestError(f"{field} must be at least {at_least}, not {value}.")
    return value


def number(field: str, value: object) -> float:
    """Require a finite number above zero."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _refuse(field, value, "a number above 0")
    if not (math.isfinite(value) and value > 0):
        raise InvalidRequestError(f"{field} must be a number above 0, not {value}.")
    return float(value)


def scalar(field: str, value: object) -> str | int | float:
    """Require a string or a finite number: what the API's metadata may hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _refuse(field, value, "a string or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(f"{field} must be a finite number, not {value}.")
    return value


def one_of(field: str, value: object, allowed: Sequence[str]) -> str:
    """Require one of a few words."""
    if value not in allowed:
        given = repr(value) if isinstance(value, str) else _kind(value)
        raise InvalidRequestError(f"{field} must be {' or '.join(allowed)}, not {given}.")
    return str(value)


def http_url(field: str, value: object) -> str:
    """Require an absolute http or https URL."""
    address = text(field, value)
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


def list_of_text(field: str, value: object) -> tuple[str, ...]:
    """Require a non-empty list of non-empty strings; a bare string is refused."""
    if isinstance(value, str) or not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise _refuse(field, value, "a list of strings")
    items = tuple(text(f"{field}[{place}]", item) for place, item in enumerate(value))
    if not items:
        raise InvalidRequestError(
            f"{field} must name at least one; leave it out to choose nothing in particular."
        )
    return items


def as_mapping(field: str, value: object) -> Mapping[str, Any]:
    """Require a mapping whose keys are non-empty strings."""
    if not isinstance(value, Mapping):
        raise _refuse(field, value, "a mapping")
    for key in value:
        text(f"a key of {field}", key)
    return value


def known_keys(field: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that nothing here knows, with the nearest known one as a hint."""
    for key in given:
        if key not in known:
            import difflib  # noqa: PLC0415  # only for a message

            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidRequestError(
                f"{field} has the unknown key {key!r}; known are {', '.join(known)}.{hint}"
            )
