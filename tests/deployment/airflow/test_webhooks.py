"""A webhook starts what comes after the tests, and its verdict is that of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dags_examples import webhook_receiver
from tests.deployment.airflow.conftest import KEY, serving
from tests.deployment.processes import until
from tests.receiving import served
from tests.signing import SECRET

if TYPE_CHECKING:
    from tests.deployment.airflow.host import Deployment

pytestmark = pytest.mark.extended

END = "test_run.some_name_nobody_knows"


@pytest.mark.scenario("a webhook starts what comes after the tests")
def test_a_webhook_starts_a_dag(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release's run ends, a webhook becomes an event, and the DAG that it starts promotes by
    the verdict that it reads; one that is about another run promotes nothing."""
    monkeypatch.setenv("EMPIRICAL_WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("AIRFLOW_URL", deployment.url)
    monkeypatch.setenv("AIRFLOW_USERNAME", "admin")
    monkeypatch.setenv("AIRFLOW_PASSWORD", "this deployment asks for none")
    with serving({"staging": "passed"}) as service, served(webhook_receiver.app) as receiver:
        deployment.connect("empirical_default", password=KEY, host=service.url)
        until("the DAGs are parsed", lambda: deployment.known("before_webhook", "after_webhook"))
        for dag_id in ("before_webhook", "after_webhook"):
            deployment.api("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        deployment.trigger("before_webhook")
        until("it is released", lambda: deployment.dag_state("before_webhook") == "success")
        run = service.the_run_in("staging")

        def promoted(after: int) -> list[str]:
            """Return what has become of the tasks of the DAG run that an event has started."""
            path = "/api/v2/dags/after_webhook/dagRuns"
            runs = deployment.api("GET", f"{path}?order_by=run_after")["dag_runs"]
            if len(runs) <= after or runs[after]["state"] not in {"success", "failed"}:
                return []
            tasks = f"{path}/{runs[after]['dag_run_id']}/taskInstances"
            listed: dict[str, Any] = deployment.api("GET", tasks)
            states = {each["task_id"]: each["state"] for each in listed["task_instances"]}
            return [states[name] for name in ("newest", "gate", "promote")]

        assert receiver.told("test_run.started", run.id).json() == {"created": None}
        assert receiver.told(END, run.id + 1, result="passed").json()["created"]
        skipped = until("it has looked", lambda: promoted(0))
        assert skipped == ["success", "skipped", "skipped"]

        assert receiver.told(END, run.id, result="failed").json()["created"]
        assert until("it has promoted", lambda: promoted(1)) == ["success"] * 3
        assert service.sent("staging") == 1
        assert service.cancels("staging") == 0
