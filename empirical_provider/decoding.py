"""From the bytes of an answer to its JSON: nothing in it that two readers could take differently.

What is refused here (NaN, a number beyond all bounds, a name that stands twice in one object) no
service writes; an answer with it comes from somebody else, or was changed on its way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from empirical_provider import redaction
from empirical_provider.answers import Unreadable

__all__ = ["from_json"]

_MOST_VALUES = 600_000
"""Values in one answer, about: more than the largest that is read has, with rows as they are. A
value may take 50 times the memory that its text does."""


def from_json(body: bytes, secrets: Collection[str] = ()) -> Any:
    """Read JSON strictly, and take secrets out of its texts; raise `Unreadable` for all else."""
    try:
        text = body.decode("utf-8")
        if sum(map(text.count, "{[,")) > _MOST_VALUES:
            raise Unreadable(f"the body holds more than {_MOST_VALUES} values")
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
        # Half a character, as a title has that was cut, is JSON; no file and no database takes it.
        if r"\ud" in text or r"\uD" in text:
            found = _with_texts(found, _whole)
        if redaction.says(body, secrets):
            found = _with_texts(found, lambda words: redaction.without(words, secrets))
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
    return found


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with each of its texts changed, those that are names included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_with_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {change(name): _with_texts(each, change) for name, each in value.items()}
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def _finite(written: str) -> float:
    number = float(written)
    if math.isinf(number):
        _refuse(written)
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("a name stands twice in one of its objects")
    return found


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
