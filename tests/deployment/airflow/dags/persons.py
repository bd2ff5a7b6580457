"""Gates that a person ends, clears or marks: see `test_persons.py`."""

from __future__ import annotations

from functools import partial

import making
from making import DEFERRABLE, SYNC

gate = partial(making.gate, empirical_conn_id="persons")
for what in ("marked-failed", "marked-success", "cleared", "dag-failed"):
    gate(f"{what}-deferred", **DEFERRABLE)
for what in ("marked-failed", "cleared"):
    gate(f"{what}-running", **SYNC)
gate("cleared-after-success", **SYNC)
