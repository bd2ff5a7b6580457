"""Release a small site, start its end-to-end tests on Empirical, and record which run tests it.

Needs a connection ``empirical_default`` of type Empirical. Started with the parameters ``version``
and ``site_dir`` (where to build; default: a new temporary folder).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="release_then_test",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"version": "1.0.0", "site_dir": ""},
    tags=["empirical"],
) as dag:

    @task
    def release(params: dict[str, Any] | None = None) -> dict[str, str]:
        """Build the site and say where it is and what it is made of."""
        version = (params or {})["version"]
        site = Path((params or {})["site_dir"] or tempfile.mkdtemp(prefix="site-"))
        site.mkdir(parents=True, exist_ok=True)
        page = site / "index.html"
        page.write_text(f"<!doctype html><title>Shop</title><h1>Shop {version}</h1>\n")
        return {
            "path": str(site),
            "url": f"https://staging.example.com/{version}/",
            "version": version,
            # A real pipeline takes the commit from git; this one names the bytes that it built.
            "commit": hashlib.sha1(page.read_bytes(), usedforsecurity=False).hexdigest(),
        }

    released = release()

    e2e = EmpiricalTriggerTestRunOperator(
        task_id="e2e",
        environment="staging",
        build={
            "url": released["url"],
            "version": released["version"],
            "commit": released["commit"],
        },
        metadata={"release": "{{ params.version }}"},
    )

    @task
    def record(build: dict[str, str], test_run_id: int) -> str:
        """Write next to the site which test run belongs to it."""
        notes = Path(build["path"]) / "release.json"
        notes.write_text(json.dumps({**build, "test_run_id": test_run_id}, indent=2) + "\n")
        return str(notes)

    record(released, e2e.output)
