"""A flow whose wait is submitted, so that it runs in a thread that no signal reaches."""

from __future__ import annotations

from typing import Any

from prefect import flow

from empirical_provider.prefect import (
    EmpiricalCredentials,
    cancel_test_runs_on_cancellation,
    run_tests,
)


@flow(name="submitting", on_cancellation=[cancel_test_runs_on_cancellation])
def submitting(credentials: str, environment: str, poll_interval: float) -> dict[str, Any]:
    """Start a run in a thread of its own, and go on if it is green."""
    block: Any = EmpiricalCredentials.load(credentials)
    verdict: dict[str, Any] = run_tests.submit(
        credentials=block,
        environment=environment,
        poll_interval=poll_interval,
    ).result()
    return verdict
