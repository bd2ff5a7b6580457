"""From the bytes of an answer to its JSON: nothing in it that two readers could take differently.

What is refused here (NaN, a number beyond all bounds, a name that stands twice in one object) no
service writes; an answer with it comes from somebody else, or was changed on its way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn

from empirical_provider.answers import Unreadable
from empirical_provider.redaction import Mask

__all__ = ["from_json"]

_MOST_VALUES = 600_000
"""Values in one answer, about: more than the largest that is read has, with rows as they are. A
value may take 50 times the memory that its text does."""

_NAME = ""
"""Stands for the names of fields themselves: a value such as "metadata" must not rename one."""

_KEPT = {
    "state": "pending|queued|started|ended|error|cancelling|cancelled",
    "status": "(?i:passed|expected|failed|unexpected|flaky|skipped|fixme|timedout|interrupted)",
    "created_at": "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(Z|[+-][0-9:]+)?",
    "commit": "[0-9a-fA-F]{7,64}",
    "slug": "[a-z0-9-]+",
    _NAME: "[a-z]+(_[a-z]+)*|[a-z]+([A-Z][a-z]+)*",
}
"""What is decided by, by the name of its field: no gate must close, and no run be missed, because
an override has the same value. Masked in it is the API key alone."""


def from_json(body: bytes, secrets: Collection[str] = (), values: Collection[str] = ()) -> Any:
    """Read JSON strictly, and mask secrets in its texts; raise `Unreadable` for all else.

    Args:
        body: The JSON.
        secrets: Masked wherever they are.
        values: Masked as well, but for what a reader goes by: names of fields, and a state, status,
            moment, commit or slug that is one.
    """
    try:
        text = body.decode("utf-8")
        if sum(map(text.count, "{[,")) > _MOST_VALUES:
            raise Unreadable(f"the body holds more than {_MOST_VALUES} values")
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
    # Half a character, as a title has that was cut, is JSON; no file and no database takes it.
    if r"\ud" in text or r"\uD" in text:
        found = _with_texts(found, _make_whole, kept=False)
    for some, kept in ((secrets, False), (values, True)):
        mask = Mask(some, up_to=len(text))
        # Without an escape in it, the texts stand in the body as they are.
        if "\\" in text or mask.finds(text):
            found = _with_texts(found, mask.change, kept=kept)
    return found


def _with_texts(found: Any, change: Callable[[list[str]], bool], *, kept: bool) -> Any:
    """Return JSON with its texts changed, those that are names included, however deep it is.

    Args:
        found: The JSON; it may be changed in its place.
        change: Changes a list of texts in its place, and says whether it has.
        kept: Whether to leave out what a reader goes by.
    """
    outermost = [found]
    holders = list(_holders(outermost))
    texts = [text for holder in holders for text in _texts(holder, kept=kept)]
    if not change(texts):
        return found
    changed = iter(texts)
    for holder in holders:
        if isinstance(holder, list):
            holder[:] = [next(changed) if isinstance(each, str) else each for each in holder]
        else:
            values = [
                next(changed) if _is_changeable(name, each, kept=kept) else each
                for name, each in holder.items()
            ]
            names = [
                next(changed) if _is_changeable(_NAME, name, kept=kept) else name for name in holder
            ]
            holder.clear()
            holder.update(zip(names, values, strict=True))
    return outermost[0]


def _holders(outermost: list[Any]) -> Iterator[list[Any] | dict[str, Any]]:
    """Yield each array and object of JSON, the outermost first."""
    waiting: list[list[Any] | dict[str, Any]] = [outermost]
    while waiting:
        holder = waiting.pop()
        yield holder
        values = holder.values() if isinstance(holder, dict) else holder
        waiting.extend(each for each in values if isinstance(each, (list, dict)))


def _texts(holder: list[Any] | dict[str, Any], *, kept: bool) -> Iterator[str]:
    """Yield the texts right in an array or object: its values first, and then its names."""
    if isinstance(holder, list):
        yield from (each for each in holder if isinstance(each, str))
    else:
        yield from (each for name, each in holder.items() if _is_changeable(name, each, kept=kept))
        yield from (name for name in holder if _is_changeable(_NAME, name, kept=kept))


def _is_changeable(name: str, value: Any, *, kept: bool) -> bool:
    if not isinstance(value, str):
        return False
    return not (kept and name in _KEPT and re.fullmatch(_KEPT[name], value))


def _make_whole(texts: list[str]) -> bool:
    """Replace halves of characters."""
    texts[:] = [
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts
    ]
    return True


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
