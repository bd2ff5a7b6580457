"""A task that lets a secret out wherever it can: the search of `test_leaks.py` must find it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator
from making import dag

PLANTED = f"planted-{'leak'}-{0x90D2FA64:x}"
"""Not in one piece, as Airflow keeps the source of a DAG."""


class Leaky(BaseOperator):
    """Logs, pushes and raises what it was given."""

    template_fields: Sequence[str] = ("note",)

    def __init__(self, *, note: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.note = note

    def execute(self, context: Any) -> None:
        logging.getLogger(__name__).warning("It is %s", PLANTED)
        context["ti"].xcom_push(key="leak", value={"it": PLANTED})
        raise RuntimeError(PLANTED)


with dag("leaky"):
    Leaky(task_id="gate", note="{{ 'planted' }}-leak-{{ '90d2fa64' }}")
