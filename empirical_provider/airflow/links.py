"""The link from a task to the page of its test run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow import xcom
from empirical_provider.airflow.versions import BaseOperatorLink, read_xcom

if TYPE_CHECKING:
    from empirical_provider.airflow.versions import BaseOperator

__all__ = ["EmpiricalTestRunLink"]

log = logging.getLogger(__name__)


class EmpiricalTestRunLink(BaseOperatorLink):
    """Button "Empirical test run" of a task: the run's page in Empirical's dashboard.

    It is there from the moment the run exists, also while the task goes on and after it failed.
    """

    name = "Empirical test run"
    xcom_key = xcom.LINK

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002  # the host's signature
        """Return the page's URL, or an empty text where there is none. Never raises."""
        try:
            return str(read_xcom(ti_key, xcom.TEST_RUN_URL) or "")
        except Exception:  # before 3.1, one link that raises takes all others with it
            log.warning("The link to the Empirical test run cannot be read.", exc_info=True)
            return ""
