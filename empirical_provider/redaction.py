"""Taking secrets out of what the service says, as it may say them back to us."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

__all__ = ["one_line", "says", "without"]

_SHORT = 4


def without(words: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text, as they are and as JSON writes them."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in _forms(secret):
            # A value such as "1" would riddle every number: a short one goes only as a word.
            words = (
                re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "***", words)
                if len(form) < _SHORT
                else words.replace(form, "***")
            )
    return words


def one_line(words: str, secrets: Iterable[str]) -> str:
    """Take out secrets, line breaks and control characters."""
    # A line break that becomes a space may make a secret of what was none before: so once more.
    secrets = tuple(secrets)
    printable = (each if each.isprintable() else " " for each in without(words, secrets))
    return without(" ".join("".join(printable).split()), secrets)


def says(body: bytes, secrets: Iterable[str]) -> bool:
    """Whether the bytes of a text say any of the secrets."""
    return any(
        form.encode("utf-8", "surrogatepass") in body
        for secret in secrets
        for form in _forms(secret)
    )


def _forms(secret: str) -> list[str]:
    forms = {secret, *(json.dumps(secret, ensure_ascii=only)[1:-1] for only in (True, False))}
    return sorted(forms - {""}, key=len, reverse=True)
