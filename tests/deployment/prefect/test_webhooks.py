"""A flow run that waits for a webhook holds no worker, and goes by the verdict of the API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from empirical_provider.emulator import Emulator
from flows_examples.resume_by_webhook import resume_by_webhook
from tests.deployment.faults import KEY, looks
from tests.deployment.prefect.host import Deployment
from tests.deployment.processes import Processes, free_port, until
from tests.receiving import Receiver
from tests.signing import SECRET

pytestmark = pytest.mark.extended

END = "test_run.some_name_nobody_knows"
EXAMPLES = Path(__file__).parents[3] / "flows_examples"


@pytest.fixture
def service() -> Iterator[Emulator]:
    """Return a local Empirical."""
    with Emulator(api_keys=[KEY], environments={"staging": "stuck"}) as emulator:
        yield emulator


@pytest.fixture
def receiver(prefect: Deployment) -> Iterator[Receiver]:
    """Run the receiver of the example, the way it says."""
    port = free_port()
    command = f"webhook_receiver:app --app-dir {EXAMPLES} --port {port}"
    environment = {**prefect.environment, "EMPIRICAL_WEBHOOK_SECRETS": SECRET}
    with Processes("webhook-receiver") as processes:
        uvicorn = Path(sys.executable).with_name("uvicorn")
        processes.start("receiver", [uvicorn, *command.split()], environment, processes.home)
        receiver = Receiver(f"http://127.0.0.1:{port}/")

        def listens() -> bool:
            processes.all_alive()
            with suppress(httpx.ConnectError):
                return receiver.send(b"{}", {}).status_code == HTTPStatus.UNAUTHORIZED
            return False

        until("the receiver listens", listens)
        yield receiver


@pytest.mark.scenario("suspended without a process, resumed by a webhook")
def test_a_webhook_resumes_a_flow_run(
    prefect: Deployment, service: Emulator, receiver: Receiver
) -> None:
    """The flow run has no process until the webhook comes; then it goes on with its run, deploys
    nothing a second time, and goes live because the run is green."""
    prefect.connect("webhooks", service.url)
    flow_run = prefect.start(
        resume_by_webhook, "resume-by-webhook", credentials="webhooks", poll_interval=0.2
    )
    until("it is suspended", lambda: prefect.state(flow_run).name == "Suspended")
    until("its process is gone", lambda: prefect.process_of(flow_run) is None)
    (run,) = service.runs
    assert looks(service) == 0
    service.set_state(run.id, "ended")

    assert receiver.told(END, run.id, result="failed").json() == {"resumed": [str(flow_run)]}
    state = prefect.completed(flow_run)

    assert f"Empirical test run {run.id} in staging passed" in state.result()
    assert [each.id for each in service.runs] == [run.id]
    assert _states_of("deploy", flow_run, prefect) == ["Cached", "Completed", "Completed"]


def _states_of(task: str, flow_run_id: UUID, prefect: Deployment) -> list[str]:
    ours = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    task_runs = prefect.server.read_task_runs(flow_run_filter=ours)
    return sorted(each.state_name for each in task_runs if each.name.startswith(task))
