"""Gates that wait while the service fails, each on a service of its own: see `test_answers.py`."""

from __future__ import annotations

from making import DEFERRABLE, gate

MOST = 20
"""More than there are faults: those are numbered, and told to nobody here."""

for number in range(MOST):
    name = f"fault-{number:02}"
    gate(name, environment="staging", empirical_conn_id=name, **DEFERRABLE)
