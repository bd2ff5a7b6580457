"""For what one run is wanted, and the steps that lead to it: the words of `idempotency`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from empirical_provider import checks
from empirical_provider.endpoints import Call
from empirical_provider.models import TestRun
from empirical_provider.policy import AFTER_RED, GatePolicy
from empirical_provider.searching import LimitedCall, Pause

__all__ = ["Save", "Started", "Step", "TriggerOnce", "is_intent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerOnce:
    """For what one run is wanted, and what is known of earlier attempts.

    Args:
        key: What the run is for: unique for each release, the same in each attempt.
        generation: Grows whenever a person asks for a fresh run; no run of another generation is
            taken over. Default 0.
        key_in_environment: Whether the key travels as the variable ``EMPIRICAL_TRIGGER_KEY``, too,
            which run lists are known to show; default True.
        shared: Whether others may use the key at the same time: then their runs are looked for
            first, and the one with the lowest id wins; default False.
        tried_since: When an earlier attempt may have begun, in seconds since the epoch; None:
            there was none, or it has left what it saved.
        tried_until: When the last of them may have sent its request; default: just now.
        saved: What an earlier attempt has saved last.
        grace: Seconds after a request in which its run may not be listed yet; default 60.
        after_red: What a further attempt, or generation, makes of red tests: ``fail`` takes them
            over (a further generation starts afresh), ``rerun_failed`` re-runs what failed,
            ``rerun_all`` everything. Default ``fail``.
        policy: What tells red from green then.

    Raises:
        InvalidRequestError: A value is not valid; the message names its field.
    """

    key: str
    generation: int = 0
    key_in_environment: bool = True
    shared: bool = False
    tried_since: float | None = None
    tried_until: float | None = None
    saved: Mapping[str, Any] | None = None
    grace: float = 60.0
    after_red: str = "fail"
    policy: GatePolicy | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        checks.text("key", self.key)
        checks.whole_number("generation", self.generation, at_least=0)
        checks.flag("key_in_environment", self.key_in_environment)
        checks.one_of("on_retry_after_red", self.after_red, AFTER_RED)
        GatePolicy.of(self.policy)


@dataclass(frozen=True, slots=True)
class Save:
    """A step: save this until the next attempt; None: forget what was saved."""

    record: dict[str, Any] | None


def is_intent(record: Mapping[str, Any] | None) -> bool:
    """Whether a request to start a run follows a record: one that is not saved sends nothing."""
    if record is None:
        return False
    return record.get("run_id") is None or record.get("rerun_since") is not None


@dataclass(frozen=True, slots=True)
class Started:
    """A step: this run is the one, as far as known."""

    run: TestRun


Step = Call[Any] | LimitedCall | Pause | Save | Started
