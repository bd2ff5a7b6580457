"""Gates that come to an end in other ways: see `test_ends.py`."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import making
from airflow.sdk import Asset
from making import DEFERRABLE

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator


class Abandoned(EmpiricalTriggerTestRunOperator):
    """A gate whose trigger never comes round to looking, so that Airflow ends the deferral."""

    first_poll_delay = 3600.0
    backstop = 0.0


gate = partial(making.gate, empirical_conn_id="ends")
gate("told", outlets=[Asset("shop-tested")], **DEFERRABLE)
gate("limited", execution_timeout=timedelta(seconds=20), priority_weight=100, **DEFERRABLE)
gate("abandoned", Abandoned, timeout=10, **DEFERRABLE)
