"""What shall go wrong, where, and how often. How a fault looks on the wire is in `effects.py`."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .bodies import Check, integer, nullable, number, record, text
from .errors import FieldError

__all__ = ["EFFECTS", "Fault", "FaultBook"]

EFFECTS = (
    "status",
    "delay",
    "drop",
    "reset",
    "malformed",
    "truncated",
    "huge",
    "html",
    "redirect",
)


def _header_text(name: str, value: Any) -> None:
    text()(name, value)
    if not (value.isascii() and value.isprintable()):
        raise FieldError(name, "must be printable ASCII, as it becomes a header")


@dataclass(frozen=True)
class Fault:
    """One thing that shall go wrong.

    Attributes:
        endpoint: Name of the endpoint, or `*` for any.
        effect: One of `EFFECTS`.
        when: Before or after the request is acted on.
        status: Status to answer with.
        retry_after: Value of the Retry-After header, verbatim.
        delay: Seconds to let pass first.
        message: Error message of a status, or address of a redirect.
        times: How many requests it still hits; None hits until cleared.
    """

    endpoint: str
    effect: str
    when: str = "before"
    status: int | None = None
    retry_after: str | None = None
    delay: float = 0.0
    message: str | None = None
    times: int | None = 1

    def __post_init__(self) -> None:
        if (self.effect == "status") != (self.status is not None):
            raise FieldError("status", "goes with the effect status, and only with it")
        if self.retry_after is not None and self.effect != "status":
            raise FieldError("retry_after", "goes only with the effect status")
        if self.effect == "delay" and self.delay == 0:
            raise FieldError("delay", "must be more than 0 for the effect delay")
        if self.message is not None and self.effect not in ("status", "redirect"):
            raise FieldError("message", "goes only with the effects status and redirect")
        if self.effect == "redirect":
            _header_text("message", self.message)


class FaultBook:
    """The faults that are still to come; the oldest that fits is the next."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self._check = _fault_check(("*", *endpoints))
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int | None]] = []

    def add(self, fields: Mapping[str, Any]) -> None:
        """Add a fault.

        Raises:
            FieldError: A field is wrong; the message names what is allowed.
        """
        self._check("", fields)
        fault = Fault(**fields)
        with self._lock:
            self._faults.append((fault, fault.times))

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault that hits this request, and use it up by one."""
        with self._lock:
            for position, (fault, left) in enumerate(self._faults):
                if fault.endpoint not in ("*", endpoint):
                    continue
                if left is not None:
                    self._faults[position : position + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return None

    def all(self) -> list[dict[str, Any]]:
        """Show the faults with the times that are left."""
        with self._lock:
            return [{**asdict(fault), "times": left} for fault, left in self._faults]

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()


def _fault_check(endpoints: tuple[str, ...]) -> Check:
    return record(
        required={"endpoint": text(among=endpoints), "effect": text(among=EFFECTS)},
        optional={
            "when": text(among=("before", "after")),
            "status": nullable(integer(200, 599)),
            "retry_after": nullable(_header_text),
            "delay": number(3_600),
            "message": nullable(text()),
            "times": nullable(integer(1)),
        },
    )
