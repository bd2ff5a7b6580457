"""Gates whose host loses a process while they are deferred: see `test_processes.py`."""

from __future__ import annotations

from functools import partial

import making
from making import DEFERRABLE

gate = partial(making.gate, empirical_conn_id="processes")
for what in (
    "triggerer-killed-of-two",
    "triggerers-terminated",
    "scheduler-restarted",
    "taken-over",
):
    gate(what, **DEFERRABLE)
