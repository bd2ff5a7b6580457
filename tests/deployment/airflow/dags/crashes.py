"""Gates whose process dies at a point of the request to start a run: see `test_crashes.py`."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from making import DEFERRABLE, SYNC, gate

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

MODES: dict[str, dict[str, Any]] = {"trigger-only": {}, "sync": SYNC, "deferrable": DEFERRABLE}


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Crashing(EmpiricalTriggerTestRunOperator):
    """Its process dies in the first try, at a point of the request to start a run."""

    visibility_grace = 5.0

    def __init__(self, *, point: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.point = point

    def execute(self, context: Any) -> int:
        if context["ti"].try_number == 1:
            self._prepare()
        return super().execute(context)

    def _prepare(self) -> None:
        """Change this very process, which nobody else is in."""
        from empirical_provider.airflow import xcom  # noqa: PLC0415
        from empirical_provider.client import EmpiricalClient  # noqa: PLC0415

        send = EmpiricalClient._send

        def send_or_die(client: EmpiricalClient, call: Any, **options: Any) -> Any:
            if call.starts_run:
                die()
            return send(client, call, **options)

        if self.point == "unsent":
            EmpiricalClient._send = send_or_die  # type: ignore[method-assign]
        if self.point == "unsaved":  # the id is pushed first, and then saved
            xcom.push_test_run = die
        # Where the point is "unanswered", the test kills the process while it waits.


RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}

for mode, fields in MODES.items():
    gate(
        f"unsent-{mode}",
        Crashing,
        point="unsent",
        empirical_conn_id="crashes",
        **fields,
        **RETRIES,
    )
    gate(
        f"unanswered-{mode}",
        Crashing,
        point="unanswered",
        empirical_conn_id="crashes-mute",
        **fields,
        **RETRIES,
    )
    gate(
        f"unsaved-{mode}",
        Crashing,
        point="unsaved",
        empirical_conn_id="crashes",
        **fields,
        **RETRIES,
    )
