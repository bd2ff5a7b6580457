"""What every version must be able to do: see `test_basics.py` and `test_inline.py`."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import making
from making import DEFERRABLE, SENSORS, SYNC

gate = partial(making.gate, empirical_conn_id="basics")
sensor = partial(making.sensor, empirical_conn_id="basics")
gate("trigger-only")
for colour in ("green", "red"):
    gate(f"sync-{colour}", **SYNC, retries=2, retry_delay=timedelta(0))
    gate(f"deferrable-{colour}", **DEFERRABLE, retries=2, retry_delay=timedelta(0))
    for mode, fields in SENSORS.items():
        sensor(f"{mode}-{colour}", **fields, retries=2, retry_delay=timedelta(0))
gate("triggerer-killed", **DEFERRABLE)
gate("worker-killed", **SYNC, retries=2, retry_delay=timedelta(seconds=1))
