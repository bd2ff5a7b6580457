"""What a trigger tells the task that it wakes: plain data, read back by an allow-list."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from empirical_provider.exceptions import (
    AuthenticationError,
    EmpiricalError,
    InvalidRequestError,
    NotFoundError,
)

if TYPE_CHECKING:
    from empirical_provider.verdict import Verdict

__all__ = ["event_of_error", "event_of_verdict", "masked", "verdict_of"]

_KINDS: dict[str, type[EmpiricalError]] = {
    "authentication": AuthenticationError,
    "not_found": NotFoundError,
    "invalid": InvalidRequestError,
    "other": EmpiricalError,
}
"""Errors that end a wait, by the word that an event has for them."""

_FREE_TEXTS = ("summary", "failed_tests", "error_code", "branch", "environment")
"""What in a verdict may repeat what the request said."""


def event_of_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the event that says how a run came out."""
    return {"status": "verdict", "verdict": verdict.as_dict()}


def event_of_error(error: EmpiricalError) -> dict[str, Any]:
    """Return the event that says why there can be no verdict."""
    kind = next(kind for kind, known in _KINDS.items() if isinstance(error, known))
    return {"status": "error", "kind": kind, "message": str(error)}


def masked(event: Any, secrets: Collection[str]) -> Any:
    """Return an event with the values of overrides masked, which the triggerer does not know."""
    match event:
        case {"verdict": dict() as data} if secrets:
            texts = {name: _masked(data[name], secrets) for name in _FREE_TEXTS if name in data}
            return {**event, "verdict": {**data, **texts}}
        case {"message": str() as message} if secrets:
            return {**event, "message": _masked(message, secrets)}
    return event


def _masked(value: Any, secrets: Collection[str]) -> Any:
    from empirical_provider.redaction import Mask

    if isinstance(value, str):
        return Mask(secrets, up_to=len(value))(value)
    return [_masked(each, secrets) for each in value] if isinstance(value, list) else value


def verdict_of(event: Any) -> Verdict:
    """Return the verdict that an event carries.

    Raises:
        EmpiricalError: The event says why there is none; the class is the one that it names.
        ValueError: It is none of our events.
    """
    from empirical_provider.verdict import Verdict

    match event:
        case {"status": "verdict", "verdict": dict() as data}:
            try:
                return Verdict.from_dict(data)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"its verdict cannot be read ({error!r})") from error
        case {"status": "error", "kind": str() as kind, "message": str() as message}:
            if kind in _KINDS:
                raise _KINDS[kind](message)
            raise ValueError(f"it names the unknown kind of error {kind!r}")
        case {"status": status}:
            raise ValueError(f"it has the unknown status {status!r}, or not what belongs to it")
    raise ValueError(f"it is {'empty' if event is None else f'a {type(event).__name__}'}")
