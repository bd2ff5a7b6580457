"""Answers that no service gives: valid ones, changed at random places; and who says what is green.

The changes are made of plain random numbers, with many to an example of hypothesis: that is what
makes tens of thousands of them cheap. `says_green` reads the text by itself and knows nothing of
the package.
"""

from __future__ import annotations

import copy
import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

KEY = 'emp-key-"5f1d0c7ab9\\'
OVERRIDE = 'hush "hush" hush é'


class Raw(str):
    """What stands in the text as it is, JSON or not."""

    __slots__ = ()


class Twice(dict[str, Any]):
    """An object with one name twice: here is one value, and ``more`` comes before or after it."""

    more: tuple[str, Any]
    first: bool


def _deep(opening: str, closing: str, depth: int) -> Raw:
    return Raw(opening * depth + "1" + closing * depth)


LITERALS = [
    *(Raw(each) for each in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-0")),
    *(Raw(each) for each in ("9" * 400, "9" * 5000, "-" + "9" * 400, "01", "+1", "0x1", "1_0")),
    *(Raw(each) for each in ("undefined", "'x'", '"\\ud800"', '"\\udc00x"', '"\\u0000"', '"\t"')),
    *(Raw(each) for each in ("2.0", "0.0", "1.5", "5e0", "True", "[1,]", "{,}", "// x", "\ufeff1")),
    _deep("[", "]", 50),
    _deep('{"a":', "}", 900),
    _deep("[", "]", 100_000),
]
VALUES = [
    *(None, True, False, -1, -(2**31), 2**31, 2**53 - 1, 2**53, 2**63, 10**30, 0, 1, 2, 3, 4, 5, 6),
    *("", "0", "1", "5", "ended", "Ended", " ended", "error", "cancelled", "queued", "failed"),
    *(
        "passed",
        "flaky",
        "skipped",
        "Expected",
        "interrupted",
        "timedOut",
        "true",
        "x" * 5000,
        "\r\nSet-Cookie: a",
        "\x1b[31m",
        "é\u2028",
    ),
    *([], {}, [[]], [{}], {"id": 1}, [None], {"": ""}, {"message": KEY}, {"name": OVERRIDE}),
    *(KEY, f"it is {KEY}!", OVERRIDE, OVERRIDE.replace(" ", "\n"), [OVERRIDE], {KEY: OVERRIDE}),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-23T10:00:00.000Z"),
]
NAMES = [
    *("id", "state", "total_count", "failed_count", "failed_count_after_snoozing", "flaky_count"),
    *("success_count", "skipped_count", "status", "snooze_info", "testRun", "test_run", "data"),
    *("error", "message", "trigger", "success", "metadata", "environment_variables_overrides"),
    *(
        "flattenedSummaryDetails",
        "flattened_summary_details",
        "commit",
        "items",
        "pagination",
        "total_pages",
        "slug",
        "name",
        "nesting",
    ),
    *("superseded_by_test_run_id", "rerun_source_id", "duration", "created_at", "project"),
]
STATUSES = {"passed", "expected", "failed", "flaky", "skipped", "fixme"}
LISTS = ("flattenedSummaryDetails", "flattened_summary_details")
COUNTS = [name for name in NAMES if name.endswith(("_count", "_snoozing"))]


def mutated(answer: Any, random: Random) -> tuple[str, bytes]:
    """Return a changed answer, as its bytes, and what sort of change it is."""
    answer = copy.deepcopy(answer)
    sort = random.choice(list(_SORTS))
    if sort == "text":
        return _text(json.dumps(answer), random)
    holder = [answer]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        _SORTS[sort](holder, random)
    return sort, _write(holder[0]).encode("utf-8", "surrogatepass")


def _value(random: Random) -> Any:
    pool = LITERALS if random.random() < 0.3 else VALUES
    return copy.deepcopy(random.choice(pool))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Go through every place of an answer that a value stands in."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, item in inside:
        yield value, key
        yield from _places(item)


def _replace(root: list[Any], random: Random) -> None:
    holder, key = random.choice(list(_places(root)))
    holder[key] = _value(random)


def _count(root: list[Any], random: Random) -> None:
    places = [place for place in _places(root) if place[1] in COUNTS or place[1] in {"id", "state"}]
    if places:
        holder, key = random.choice(places)
        number = random.choice((-1, 0, 1, 2, 3, 4, 5, 6, 7, 48, None))
        holder[key] = number if random.random() < 0.8 else _value(random)
    else:
        _replace(root, random)


def _delete(root: list[Any], random: Random) -> None:
    places = [(holder, key) for holder, key in _places(root) if holder is not root]
    if places:
        holder, key = random.choice(places)
        del holder[key]


def _add(root: list[Any], random: Random) -> None:
    objects = [holder[key] for holder, key in _places(root) if isinstance(holder[key], dict)]
    if objects:
        random.choice(objects)[random.choice(NAMES)] = _value(random)


def _swap(root: list[Any], random: Random) -> None:
    places = list(_places(root))
    (one, a), (other, b) = random.choice(places), random.choice(places)
    one[a], other[b] = copy.deepcopy(other[b]), copy.deepcopy(one[a])


def _wrap(root: list[Any], random: Random) -> None:
    holder, key = random.choice(list(_places(root)))
    value = holder[key]
    if isinstance(value, list) and random.random() < 0.5:
        holder[key] = {str(place): each for place, each in enumerate(value)}
    elif isinstance(value, dict) and random.random() < 0.5:
        holder[key] = list(value.values())
    else:
        holder[key] = random.choice(([value], {"value": value}, str(value)))


def _twice(root: list[Any], random: Random) -> None:
    places = [place for place in _places(root) if type(place[0][place[1]]) is dict]
    places = [(holder, key) for holder, key in places if holder[key]]
    if places:
        holder, key = random.choice(places)
        double = Twice(holder[key])
        double.more = (random.choice(list(double)), _value(random))
        double.first = random.random() < 0.5
        holder[key] = double


_JUNK = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\0")
_PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7")


def _flipped(body: bytes, random: Random) -> bytes:
    flipped = bytearray(body)
    for _ in range(random.choice((1, 1, 5))):
        flipped[random.randrange(len(body))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _text(text: str, random: Random) -> tuple[str, bytes]:
    """Change the text itself."""
    body = text.encode()
    place = random.randrange(len(body))
    before, after = body[:place], body[place:]
    changes: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: before,
        "flipped bits": lambda: _flipped(body, random),
        "junk bytes": lambda: before + random.randbytes(random.choice((1, 3, 40))) + after,
        "invalid UTF-8": lambda: before + random.choice(_JUNK) + after,
        "other encodings": lambda: text.encode(random.choice(_ENCODINGS)),
        "compressed": lambda: gzip.compress(body, mtime=0),
        "said twice": lambda: body + random.choice((b"", b"\n", b",")) + body,
        "no JSON": lambda: random.choice((_PAGE, b"", b" ", b"null", b"[]", b"OK", body[1:])),
    }
    sort = random.choice(list(changes))
    return sort, changes[sort]()


_SORTS: dict[str, Callable[[list[Any], Random], None] | None] = {
    "replaced": _replace,
    "counts, ids and states": _count,
    "deleted": _delete,
    "added": _add,
    "swapped": _swap,
    "wrapped": _wrap,
    "names twice": _twice,
    "text": None,
}  # type: ignore[assignment]


def _write(value: Any) -> str:
    """Write what is JSON, and what is none, as a text."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        pairs = list(value.items())
        if isinstance(value, Twice):
            pairs.insert(0 if value.first else len(pairs), value.more)
        return "{" + ",".join(f"{json.dumps(name)}:{_write(each)}" for name, each in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0)


# What an answer says, read without the package.


class _NotSo(Exception):  # noqa: N818  # says no
    pass


def _strict(body: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _NotSo
        return dict(pairs)

    def bounded(text: str) -> float:
        if float(text) in (float("inf"), float("-inf")):
            raise _NotSo
        return float(text)

    def never(_: str) -> None:
        raise _NotSo

    try:
        return json.loads(
            body.decode(), object_pairs_hook=once, parse_float=bounded, parse_constant=never
        )
    except (ValueError, RecursionError):
        raise _NotSo from None


def says_green(body: bytes, run_id: int, *, snoozed_counts: bool = False) -> bool:
    """Whether the text of a detail says of a run that it has ended and that its tests passed."""
    try:
        row, rows = _detail(_strict(body))
        return (type(row["id"]), row["id"], row.get("state")) == (int, run_id, "ended") and (
            _row_is_green(row, rows, snoozed_counts=snoozed_counts)
        )
    except (_NotSo, AttributeError, KeyError, TypeError):
        return False


def _detail(answer: Any) -> tuple[Any, list[Any]]:
    levels = [answer]
    for names in (("data",), ("test_run", "testRun"), ("test_run", "testRun")):
        found = [name for name in names if levels[-1].get(name) is not None]
        if len(found) > 1:
            raise _NotSo
        levels += [levels[-1][name] for name in found]
    lists = [each.get(name) for each in levels for name in LISTS]
    return levels[-1], [each for some in lists if isinstance(some, list) for each in some]


def _status(row: Any) -> str:
    status = row.get("status") if isinstance(row, dict) else None
    return status.lower() if isinstance(status, str) else ""


def _is_snoozed(row: Any) -> bool:
    info = row.get("snooze_info")
    return any(isinstance(each, dict) and each for each in (info if type(info) is list else [info]))


def _row_is_green(row: Any, rows: list[Any], *, snoozed_counts: bool) -> bool:
    counts = {name: row[name] for name in COUNTS if row.get(name) is not None}
    if any(type(each) is not int or not 0 <= each < 2**53 for each in counts.values()):
        return False
    words = [_status(each) for each in rows]
    failed = [each for each in rows if _status(each) == "failed"]
    if any(word not in STATUSES for word in words) or not all(map(_is_snoozed, failed)):
        return False
    after, before = counts.get("failed_count_after_snoozing"), counts.get("failed_count")
    if snoozed_counts:
        left = None if before is None and not rows else max(before or 0, len(failed), after or 0)
    else:
        left = before if after is None else after
        left = 0 if left is None and rows else left
    total, passed = counts.get("total_count"), counts.get("success_count")
    skipped = sum(word in {"skipped", "fixme"} for word in words)
    ran = len(words) - skipped
    if total is not None and passed is not None:
        gone_wrong = (after or 0) if before is None else before
        ran = passed + gone_wrong + counts.get("flaky_count", 0)
        if ran + counts.get("skipped_count", 0) < total:
            return False
    elif total is not None and (counts.get("skipped_count", skipped) != total or not total):
        ran = total
    parts = [counts.get(part, 0) for part in ("failed_count", "success_count", "flaky_count")]
    return (
        left == 0
        and ran >= 1
        and (total is None or max(parts) <= total)
        and (after is None or before is None or after <= before)
    )
