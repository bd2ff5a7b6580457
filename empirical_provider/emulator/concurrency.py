"""Runs that may not go at the same time: which group a run is in, and who gives way in it.

A run's own `concurrency` goes before the project's limit, and null keeps out of both.
"""

from collections.abc import Iterable

from .behaviour import Behaviour
from .runs import Group, Run

__all__ = ["join", "live", "release"]


def join(run: Run, runs: Iterable[Run], behaviour: Behaviour, now: float) -> None:
    """Put a new run into its group and settle its conflict with the live runs there."""
    run.group, waits = _claim(run, behaviour)
    others = [other for other in live(run.group, runs) if other is not run]
    for other in others:
        if other.waiting or not waits:
            other.superseded_by = run.id
            other.enter("cancelled", now)
    if waits and any(not other.terminal for other in others):
        run.state, run.waiting = "pending", True


def live(group: Group | None, runs: Iterable[Run]) -> list[Run]:
    """List the runs of a group that are not at rest, oldest first."""
    return [run for run in runs if group is not None and run.group == group and not run.terminal]


def release(group: Group | None, runs: Iterable[Run], now: float) -> None:
    """Let the newest waiting run of a group go when nothing is ahead of it."""
    left = live(group, runs)
    if left and all(run.waiting for run in left):
        run = left[-1]
        run.enter("pending" if run.plan.outcome == "pending" else "queued", now)


def _claim(run: Run, behaviour: Behaviour) -> tuple[Group | None, bool]:
    """Tell the group of a run, and whether it waits there or cancels the others."""
    if "concurrency" in run.request:
        own = run.request["concurrency"]
        return (("request", own["group"]), own["on_conflict"] == "wait") if own else (None, False)
    limit = behaviour.concurrency_limit
    places: dict[str, Group | None] = {
        "none": None,
        "project": (limit,),
        "environment": (limit, run.environment.slug),
        "branch_environment": (limit, run.branch, run.environment.slug),
    }
    return places[limit], behaviour.concurrency_behavior == "queue_new"
