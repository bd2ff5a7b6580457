"""An answer as it comes over the wire: read within limits, and not understood yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from empirical_provider.answers import Unreadable

__all__ = ["MOST_OF_A_REFUSAL", "Answer", "Body"]

_MAX_BODY_BYTES = 10 * 1024 * 1024
"""A larger answer is not read."""

MOST_OF_A_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that is not 2xx."""

_SPOKEN = ("HTTP/1.0", "HTTP/1.1")
_TOO_LARGE = f"the body is larger than {_MAX_BODY_BYTES // 1024**2} MB"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as it came over the wire: it may repeat what the request said."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def sent_at(self) -> float | None:
        """When it was sent by the service's clock, in seconds since the epoch; None: not told."""
        date = _date(self.headers.get("date", ""))
        return None if date is None else date.timestamp()

    @property
    def retry_after(self) -> float | None:
        """Seconds that it asks to wait; a date is held against the service's clock."""
        value = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}", value):
            return float(value)
        then, now = _date(value), _date(self.headers.get("date", "")) or datetime.now(UTC)
        return None if then is None else max(0.0, (then - now).total_seconds())


class Body:
    """Collects the body of one answer within its limit of size.

    Of an answer that is not 2xx only so much is read as can be quoted: its status says enough.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._bytes = bytearray()
        self._compressed = response.headers.get("content-encoding", "identity") != "identity"
        promised = response.headers.get("content-length", "0")
        if response.http_version not in _SPOKEN:
            raise Unreadable(f"in {response.http_version}, which was not asked for")
        if response.is_success and self._compressed:
            raise Unreadable("the body is compressed, although plain text was asked for")
        if response.is_success and promised.isdigit() and int(promised) > _MAX_BODY_BYTES:
            raise Unreadable(_TOO_LARGE)

    def wants(self, chunk: bytes) -> bool:
        """Take in what has come, and say whether to go on reading."""
        self._bytes += chunk
        if not self._response.is_success:
            return len(self._bytes) < MOST_OF_A_REFUSAL
        if len(self._bytes) > _MAX_BODY_BYTES:
            raise Unreadable(_TOO_LARGE)
        return True

    def answer(self) -> Answer:
        """Return the answer, as far as it was wanted."""
        body = b"(compressed)" if self._compressed else bytes(self._bytes)
        return Answer(self._response.status_code, self._response.headers, body)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):  # the last: a zone hours without end away
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
