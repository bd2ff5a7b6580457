"""Where the core logs: to a logger of each module, or for one call to that of a task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["CallLog", "logging_to"]

Logger = logging.Logger | logging.LoggerAdapter[Any]

_target: ContextVar[Logger | None] = ContextVar("empirical_log", default=None)


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """A module's logger that gives way to the one of `logging_to`."""

    @classmethod
    def of(cls, name: str) -> CallLog:
        """Return that of a module.

        Args:
            name: Name of the module.
        """
        return cls(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log to where this call is to be logged."""
        kwargs.setdefault("stacklevel", 2)  # the line that logs, and not this one
        (_target.get() or self.logger).log(level, msg, *args, **kwargs)


@contextmanager
def logging_to(log: Logger) -> Iterator[None]:
    """Log what the core does inside to this logger, such as that of a task run.

    Args:
        log: A ``logging.Logger`` or a ``logging.LoggerAdapter``.
    """
    token = _target.set(log)
    try:
        yield
    finally:
        _target.reset(token)
