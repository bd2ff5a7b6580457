"""Masking secrets in what the service returns, as it may repeat them.

Texts are masked once they are decoded: an escape that JSON, HTML or a URL may write would hide a
secret from a search in what came over the wire. The time taken grows with the text, and with the
number of secrets, and with nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from empirical_provider import checks

__all__ = ["Mask", "one_line", "unsaid"]

_SHORT = 4

_BETWEEN = "\ud800"
"""Half of a character: no secret and no decoded text has one, so nothing is found across it."""

_CONTROLS = f"(?!{_BETWEEN}){checks.NOT_IN_A_LINE}"
"""What becomes a space where a text is made one line."""

_BATCH = 4096
"""Texts that are searched at a time."""

_ESCAPES = r'(?:\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])+'


class Mask:
    """Masks secrets in texts, also where a text holds them as JSON, HTML or a URL writes them.

    Args:
        secrets: The secrets.
        up_to: Length of the longest text to be masked: a longer secret cannot be in it.
    """

    def __init__(self, secrets: Iterable[str], *, up_to: int) -> None:
        forms = {form for each in secrets if len(each) <= up_to for form in _forms(each)}
        self._forms = [each for each in forms if len(each) >= _SHORT]
        self._has_spaces = any(" " in each for each in forms)
        # A value such as "1" would riddle every number: a short one goes only as a word.
        short = "|".join(re.escape(each) for each in forms if len(each) < _SHORT)
        self._words = re.compile(rf"(?<!\w)(?:{short})(?!\w)") if short else None

    def __call__(self, text: str) -> str:
        """Return the text with each secret masked, those that overlap as one."""
        pieces, end = [], 0
        for start, stop in sorted(self._spans(text)):
            if start >= end:
                pieces += [text[end:start], "***"]
            end = max(end, stop)
        return "".join([*pieces, text[end:]]) if pieces else text

    def finds(self, text: str) -> bool:
        """Whether a secret is in the text."""
        return next(self._spans(text), None) is not None

    def change(self, texts: list[str]) -> bool:
        """Mask many decoded texts in their places; return whether there was a secret in any."""
        changed = False
        for first in range(0, len(texts), _BATCH):
            batch = slice(first, first + _BATCH)
            joined = _BETWEEN.join(texts[batch])
            if self.finds(joined):
                texts[batch] = self(joined).split(_BETWEEN)
                changed = True
        return changed

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        yield from self._spans_in(text)
        if self._has_spaces:
            yield from self._spans_in(re.sub(_CONTROLS, " ", text))

    def _spans_in(self, text: str) -> Iterator[tuple[int, int]]:
        for form in self._forms:
            at = text.find(form)
            while at >= 0:
                yield at, at + len(form)
                at = text.find(form, at + 1)  # it may overlap with itself
        if self._words is not None:
            yield from (found.span() for found in self._words.finditer(text))


def one_line(words: str, secrets: Iterable[str]) -> str:
    """Mask secrets in a text of the service, however it writes them, and make one line of it."""
    mask = Mask(secrets, up_to=len(words))
    words = reading = mask(words)
    for decode in (*(_unescaped, _without_entities, unquote) * 2, unquote_plus):  # JSON in JSON
        reading = decode(reading)
        if mask.finds(reading):
            words = reading = mask(reading)
    printable = (each if each.isprintable() else " " for each in words)
    # A line break that becomes a space may make a secret of what was none before: so once more.
    return mask(" ".join("".join(printable).split()))


def unsaid(secrets: Iterable[str], request: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the values of overrides that a request does not say openly, as the name of a branch.

    Args:
        secrets: The values.
        request: All its fields, by name.
    """
    openly = {**(request or {}), "environment_variables_overrides": None}
    said = json.dumps(openly, default=str, ensure_ascii=False)
    return tuple(each for each in secrets if not Mask([each], up_to=len(said)).finds(said))


def _forms(secret: str) -> set[str]:
    """Return a secret as it is, and as texts write it that hold it."""
    import html  # noqa: PLC0415  # imports cost

    written = {json.dumps(secret, ensure_ascii=only)[1:-1] for only in (True, False)}
    with_entities = {html.escape(secret), html.escape(secret, quote=False)}
    in_urls = {
        quote(secret, errors="replace"),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
    }
    return {secret, *written, *with_entities, *in_urls} - {""}


def _unescaped(text: str) -> str:
    """Return a text with the escapes of JSON in it read."""
    return re.sub(_ESCAPES, lambda found: str(json.loads(f'"{found[0]}"')), text)


def _without_entities(text: str) -> str:
    """Return a text with the entities of HTML in it read, unless one is a number without end."""
    import html  # noqa: PLC0415  # as above

    try:
        return html.unescape(text)
    except ValueError:
        return text
