"""What a task tells of a verdict: in its log, by its XComs, and in the events of its assets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow import xcom

if TYPE_CHECKING:
    from empirical_provider.verdict import Verdict

__all__ = ["tell_outlets", "tell_verdict"]

log = logging.getLogger(__name__)


def tell_verdict(ti: Any, verdict: Verdict) -> None:
    """Log the verdict and push it."""
    told = {name: n for name, n in verdict.as_dict()["counts"].items() if n is not None}
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in told.items())
    log.info("Test run %s: %s", verdict.run_id, verdict.url or "(page not known)")
    log.info(
        "Verdict: %s, so the gate says %s. Tests: %s. Waited: %.0f s.",
        verdict.outcome,
        verdict.decision,
        counts or "not told",
        verdict.elapsed_seconds or 0.0,
    )
    xcom.push_verdict(ti, verdict)


def tell_outlets(outlets: Iterable[Any] | None, context: Any, **extra: Any) -> None:
    """Add to the events of the task's assets what a consumer of them needs to know."""
    events = context.get("outlet_events")
    if events is None:
        return
    for outlet in outlets or ():
        try:
            events[outlet].extra.update(extra)
        except (TypeError, ValueError):  # lineage, say: not everything in outlets has events
            continue
