"""The example that is resumed by a webhook: only a genuine one, and never judged by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from empirical_provider.emulator import Emulator
from empirical_provider.exceptions import TestsFailedError
from empirical_provider.prefect import EmpiricalCredentials, calls
from empirical_provider.webhooks import LARGEST_BODY
from flows_examples import resume_by_webhook, webhook_receiver
from tests.receiving import Receiver, served
from tests.signing import OLD_SECRET, SECRET, secret_of, signed, webhook

pytestmark = pytest.mark.seconds

END = "test_run.some_name_nobody_knows"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Serve the receiver, which knows an old and a new secret."""
    monkeypatch.setenv("EMPIRICAL_WEBHOOK_SECRETS", f"{OLD_SECRET} {SECRET}")
    with served(webhook_receiver.app) as receiver:
        yield receiver


class FlowRun:
    """A flow run of the example, of a deployment; `suspends` and `run` do what a worker does."""

    def __init__(self, server: SyncPrefectClient) -> None:
        self._server = server
        flow_id = server.create_flow(resume_by_webhook.resume_by_webhook)
        made = server.create_deployment(flow_id=flow_id, name=f"release-{uuid4()}")
        self.id: UUID = server.create_flow_run_from_deployment(made, tags=["nightly"]).id

    def suspends(self) -> None:
        """Run it until it suspends itself, which ends its process."""
        with pytest.raises(Pause):
            self.run()

    def run(self) -> Any:
        """Run it to its end; return its state."""
        calls._calls.clear()  # as a process of its own: Prefect gives it one after a suspension
        return run_flow(
            resume_by_webhook.resume_by_webhook,
            flow_run=self._server.read_flow_run(self.id),
            parameters={
                "credentials": "prod",
                "environment": "staging",
                "version": "1.0.0",
                "patience": 600,
                "poll_interval": 0.01,
            },
            return_type="state",
        )

    @property
    def state(self) -> str:
        """The name of its state."""
        state = self._server.read_flow_run(self.id).state
        assert state is not None
        return state.name or ""

    @property
    def tags(self) -> list[str]:
        """What it is found by."""
        return sorted(self._server.read_flow_run(self.id).tags)


@pytest.fixture
def flow_run(server: SyncPrefectClient, credentials: EmpiricalCredentials) -> Iterator[FlowRun]:
    """Make a flow run of a deployment; it goes again, as the next test's run has the same id."""
    credentials.save("prod", overwrite=True)
    made = FlowRun(server)
    yield made
    server.delete_flow_run(made.id)


def test_a_flow_run_is_resumed_and_goes_by_the_verdict(
    flow_run: FlowRun, receiver: Receiver, empirical: Emulator
) -> None:
    """It starts one run, suspends itself, and once the webhook has come goes live: the run is
    green, whatever the webhook says."""
    flow_run.suspends()
    [run] = empirical.runs
    tag = f"empirical-test-run:{run.id}"
    assert (flow_run.state, flow_run.tags) == ("Suspended", [tag, "nightly"])
    empirical.set_state(run.id, "ended")

    answer = receiver.told(END, run.id, result="failed")
    assert (answer.status_code, answer.json()) == (200, {"resumed": [str(flow_run.id)]})
    assert flow_run.state == "Resuming"
    state = flow_run.run()

    assert state.is_completed(), state.message
    live = f"Live at https://production.example.com/1.0.0/. Empirical test run {run.id} in staging"
    assert state.result().startswith(live)
    assert [each.id for each in empirical.runs] == [run.id]
    assert flow_run.tags == [tag, "nightly"]
    assert receiver.told(END, run.id).json() == {"resumed": []}  # delivered twice


def test_a_run_that_goes_on_is_waited_for_and_red_fails(
    flow_run: FlowRun, receiver: Receiver, empirical: Emulator
) -> None:
    """A webhook that comes before the end, and says that all is well, opens no gate."""
    empirical.script("staging", "failed", total=4, failed=1)
    flow_run.suspends()
    [run] = empirical.runs
    assert run.state == "queued"

    receiver.told(END, run.id, result="passed", failed_count=0)

    with pytest.raises(TestsFailedError, match=f"run {run.id} in staging failed: 1 of 4"):
        flow_run.run().result()
    assert flow_run.state == "Failed"


def test_nothing_else_resumes_it(
    flow_run: FlowRun, receiver: Receiver, empirical: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A forged webhook is refused, with nothing told but that; what comes before the end, is of
    another run or names none is taken, and leaves the flow run alone."""
    flow_run.suspends()
    [run] = empirical.runs
    body, headers = webhook({"event": END, "test_run_id": run.id})
    for forged in (
        {},
        {**headers, "x-webhook-signature": "sha256=1"},
        signed(body, secret_of(b"the-secret-of-another-webhook")),
    ):
        answer = receiver.send(body, forged)
        assert (answer.status_code, answer.text) == (401, "")
    assert receiver.send(body.ljust(LARGEST_BODY + 1), headers).status_code == 413
    for event, run_id in (
        ("test_run.queued", run.id),
        ("test_run.started", run.id),
        ("webhook.test", run.id),
        (END, run.id + 1),
        (END, -1),
    ):
        answer = receiver.told(event, run_id)
        assert (answer.status_code, answer.json()) == (200, {"resumed": []})
    assert flow_run.state == "Suspended"
    assert caplog.text.count("The webhook is refused") == 3
    for secret in (SECRET, OLD_SECRET):
        assert secret.removeprefix("whsec_") not in caplog.text


@pytest.mark.parametrize("secret", [OLD_SECRET, SECRET], ids=["old", "new"])
def test_either_secret_is_good_while_it_is_changed(
    secret: str, flow_run: FlowRun, receiver: Receiver, empirical: Emulator
) -> None:
    """The receiver takes what is signed with the old secret, and with the new one."""
    flow_run.suspends()
    payload = {"event": END, "test_run_id": empirical.runs[0].id}
    answer = receiver.send(*webhook(payload, secret))
    assert answer.json() == {"resumed": [str(flow_run.id)]}


def test_a_webhook_that_is_early_waits(
    flow_run: FlowRun,
    receiver: Receiver,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the tests end before the flow run has suspended itself, the webhook is not lost."""
    looked = threading.Event()
    suspend = resume_by_webhook.suspend_flow_run

    def sleep(_: float) -> None:
        looked.set()
        time.sleep(0.05)

    def suspend_late(**arguments: Any) -> None:
        sent.append(pool.submit(receiver.told, END, empirical.runs[0].id))
        assert looked.wait(30), "the receiver did not look, or did not wait"
        suspend(**arguments)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(webhook_receiver, "time", clock)
    monkeypatch.setattr(resume_by_webhook, "suspend_flow_run", suspend_late)
    sent: list[Future[httpx.Response]] = []
    with ThreadPoolExecutor(1) as pool:
        flow_run.suspends()
        assert sent[0].result().json() == {"resumed": [str(flow_run.id)]}
    assert flow_run.state == "Resuming"


def test_a_webhook_that_comes_again_waits_for_nothing(
    flow_run: FlowRun,
    receiver: Receiver,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a flow run that was resumed goes on, there is nothing to wait for: the answer is that
    nothing was resumed, and it comes at once."""
    flow_run.suspends()
    run_id = empirical.runs[0].id
    assert receiver.told(END, run_id).json() == {"resumed": [str(flow_run.id)]}
    wait = resume_by_webhook.wait_for_test_run
    answers = []

    def again(**arguments: Any) -> Any:
        answers.append((flow_run.state, receiver.told(END, run_id).json()))
        return wait(**arguments)

    monkeypatch.setattr(resume_by_webhook, "wait_for_test_run", again)
    monkeypatch.setattr(webhook_receiver, "time", SimpleNamespace(monotonic=time.monotonic))
    assert flow_run.run().is_completed()
    assert answers == [("Running", {"resumed": []})]
