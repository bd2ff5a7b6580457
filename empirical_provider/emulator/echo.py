"""What a run's JSON shows of the request that made it: by itself nothing, all of it by switches."""

from collections.abc import Callable, Mapping
from typing import Any

from .runs import Run

__all__ = ["ECHOES", "ECHO_IN_DETAIL", "ECHO_IN_LIST", "echoed"]

# Field -> how it is read from a run. What was not given has a value all the same: an empty one.
ECHOES: Mapping[str, Callable[[Run], Any]] = {
    "environment_id": lambda run: run.environment.id,
    "environment_slug": lambda run: run.environment.slug,
    "environment_name": lambda run: run.environment.name,
    "test_run_branch": lambda run: run.branch,
    "build_url": lambda run: _build(run, "url"),
    "build_branch": lambda run: _build(run, "branch"),
    "commit": lambda run: run.plan.commit or _build(run, "commit"),
    "metadata": lambda run: run.request.get("metadata", {}),
    "environment_variables_overrides": lambda run: run.request.get(
        "environment_variables_overrides", []
    ),
    "test_case_ids": lambda run: run.request.get("test_case_ids", []),
    "rerun_source_id": lambda run: run.rerun_source_id,
    "rerun_only_failed": lambda run: run.rerun_only_failed,
}
# As far as there is evidence; README.md says how much.
ECHO_IN_DETAIL = frozenset(ECHOES) - {"metadata"}
ECHO_IN_LIST = ECHO_IN_DETAIL - {"test_case_ids"}


def echoed(run: Run, names: frozenset[str]) -> dict[str, Any]:
    """Show these fields of a run; the others are absent."""
    return {name: read(run) for name, read in ECHOES.items() if name in names}


def _build(run: Run, name: str) -> Any:
    return run.request.get("build", {}).get(name)
