"""Start a DAG when a test run ends, whoever has started that: here, where staging is red.

Needs Airflow 3.0 or newer, a triggerer, and a connection ``empirical_default`` of type Empirical.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from empirical_provider.airflow.triggers import EmpiricalTestRunEventTrigger

ends = EmpiricalTestRunEventTrigger(environment="staging", outcome=["failed", "error"])
red = Asset("staging_tests_red", watchers=[AssetWatcher(name="empirical", trigger=ends)])

with DAG(
    dag_id="start_when_a_run_ends",
    schedule=[red],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["empirical"],
) as dag:

    @task
    def tell(triggering_asset_events: Any = None) -> list[str]:
        """Tell of each red run; Airflow may start one DAG run for several of them."""
        verdicts = [event.extra["payload"] for event in triggering_asset_events[red]]
        return [verdict["summary"] for verdict in verdicts]

    tell()
