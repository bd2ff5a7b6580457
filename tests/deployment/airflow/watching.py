"""Assets that are watched, for `test_events.py`: one that starts a DAG, and nineteen others."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from empirical_provider.airflow.triggers import EmpiricalTestRunEventTrigger

INTERVAL = 6.0


def watched(name: str, **filters: Any) -> Asset:
    """Return an asset that has an event for each end of a run."""
    trigger = EmpiricalTestRunEventTrigger(poll_interval=INTERVAL, **filters)
    return Asset(name, watchers=[AssetWatcher(name="empirical", trigger=trigger)])


every = watched("every")
others = [watched(f"other-{number}", policy={"min_tests": number}) for number in range(2, 21)]

with DAG(dag_id="consumer", schedule=[every], is_paused_upon_creation=False):

    @task
    def verdicts(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return the verdicts that this run was started for."""
        return [event.extra["payload"] for event in triggering_asset_events[every]]

    verdicts()

# An asset is only watched where an active DAG goes by it.
with DAG(dag_id="onlooker", schedule=others, is_paused_upon_creation=False):

    @task
    def nothing() -> None:
        """Do nothing."""

    nothing()
