"""What was asked: every request, in order, with the key left out."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Journal", "RecordedRequest"]


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        query: Query parameters; the last one wins where a name is repeated.
        headers: Headers by lower-case name; the value of `authorization` is `***`.
        body: The JSON read, or the text where it is no JSON, or None where there is none.
        endpoint: Name of the API endpoint, or None for any other path.
        at: When it arrived, in seconds since the epoch by the service's clock.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    endpoint: str | None
    at: float


class Journal:
    """All requests so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def add(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """List them, oldest first."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._requests.clear()
