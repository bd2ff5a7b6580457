"""Gates whose host loses a process while they are deferred: see `test_processes.py`."""

from __future__ import annotations

from making import DEFERRABLE, gate

for what in (
    "triggerer-killed-of-two",
    "triggerers-terminated",
    "scheduler-restarted",
    "taken-over",
):
    gate(what, **DEFERRABLE)
