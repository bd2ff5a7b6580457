"""When a request is sent again, and after how long. No clock and no sleep of its own.

Waiting for a run to finish is another matter with other limits; it is not decided here.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from empirical_provider.exceptions import EmpiricalError

__all__ = ["Attempts"]

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 20.0
_MOST_DOUBLINGS = 10
"""More than there are before the longest delay; a day of them would double beyond all numbers."""


class Attempts:
    """The attempts of one request: full-jitter backoff, the service's own wait, a total limit.

    Args:
        limit: Seconds from the first attempt after which none is started; 0 means one attempt.
        clock: Monotonic clock, in seconds.
        draw: Draws a number evenly between two bounds.
    """

    def __init__(
        self,
        limit: float,
        clock: Callable[[], float],
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._give_up_at = clock() + limit
        self._count = 0

    def delay_after(self, error: EmpiricalError) -> float:
        """Return the seconds to wait before sending again, or raise ``error`` to give up."""
        # A request that starts a run never ends in an ambiguous error that may pass: those have
        # become `TriggerOutcomeUnknownError` before they get here.
        if not error.may_pass:
            raise error
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._count, _MOST_DOUBLINGS))
        delay = max(self._draw(0.0, longest), error.retry_after or 0.0)
        if self._clock() + delay >= self._give_up_at:
            raise error
        self._count += 1
        return delay
