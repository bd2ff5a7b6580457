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
    Other tasks may be able to write the XCom that it is read from. So it is a link only where it
    is the page of a test run below the dashboard of the task's connection; where that cannot be
    looked up (by the webserver of Airflow 2), where it has the form of such a page.
    """

    name = "Empirical test run"
    xcom_key = xcom.LINK

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the page's URL, or an empty text where there is none. Never raises."""
        if getattr(operator, "_ti", None) is not None and not getattr(operator, "_run_id", None):
            return ""  # it has just ended without a run; Airflow would log that there is no XCom
        try:
            url = read_xcom(ti_key, xcom.TEST_RUN_URL)
            return url if url and _is_page(url, operator) else ""
        except Exception:  # before 3.1, one link that raises takes all others with it
            log.warning("The link to the Empirical test run cannot be read.", exc_info=True)
            return ""


def _is_page(url: object, operator: BaseOperator) -> bool:
    """Tell whether what an XCom holds can be the page of a test run."""
    from empirical_provider.addresses import is_test_run_page

    if not is_test_run_page(url):
        log.warning("The XCom %s holds no page of a test run: no link.", xcom.TEST_RUN_URL)
        return False
    try:
        from empirical_provider.airflow.hooks import EmpiricalHook

        hook = getattr(operator, "_hook", None)  # of the task that has just run
        dashboard = (hook or EmpiricalHook(operator.empirical_conn_id)).dashboard_url  # type: ignore[attr-defined]  # ours has one
    except Exception as error:  # noqa: BLE001  # the host's are of many kinds
        log.info("The link is not held against its connection: %r", error)
        return True
    if not str(url).startswith(f"{dashboard}/"):
        log.warning("The XCom %s leads elsewhere than its connection: no link.", xcom.TEST_RUN_URL)
        return False
    return True
