"""The example that is started by a webhook; `tests/deployment` has it in a whole Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dags_examples import after_webhook, webhook_receiver
from empirical_provider.webhooks import LARGEST_BODY
from tests.airflow.standins import AIRFLOW
from tests.airflow.test_dag_runs import DagBag
from tests.airflow.test_examples import EXAMPLES
from tests.receiving import Receiver, served
from tests.signing import OLD_SECRET, SECRET, secret_of, signed, webhook

END = "test_run.some_name_nobody_knows"
PASSWORD = "password-of-the-receiver-8c1f"


class Airflow:
    """Stands in for Airflow's REST API: the part that the receiver calls."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answers = 200

    async def token(self, request: Request) -> JSONResponse:
        assert await request.json() == {"username": "receiver", "password": PASSWORD}
        return JSONResponse({"access_token": "made-up"}, 201)

    async def assets(self, request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer made-up"
        assert request.query_params["name_pattern"] == "empirical-webhooks"
        names = ["my-empirical-webhooks", "empirical-webhooks"]
        return JSONResponse({"assets": [{"id": i, "name": name} for i, name in enumerate(names)]})

    async def create(self, request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer made-up"
        self.events.append(await request.json())
        return JSONResponse({"id": len(self.events)}, self.answers)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/auth/token", self.token, methods=["POST"]),
                Route("/api/v2/assets", self.assets),
                Route("/api/v2/assets/events", self.create, methods=["POST"]),
            ]
        )


class Events:
    """Stands in for what a task is told of the events of an asset, oldest first."""

    def __init__(self, asset: Any, ids: list[int]) -> None:
        self._asset = asset
        self._events = [SimpleNamespace(extra={"test_run_id": each}) for each in ids]

    def __getitem__(self, asset: Any) -> list[SimpleNamespace]:
        assert asset == self._asset
        return self._events


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def receiver(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Serve the receiver, which knows an old and a new secret and where Airflow is."""
    with served(airflow.app) as api, served(webhook_receiver.app) as receiver:
        monkeypatch.setenv("EMPIRICAL_WEBHOOK_SECRETS", f"{OLD_SECRET} {SECRET}")
        monkeypatch.setenv("AIRFLOW_URL", api.url)
        monkeypatch.setenv("AIRFLOW_USERNAME", "receiver")
        monkeypatch.setenv("AIRFLOW_PASSWORD", PASSWORD)
        yield receiver


@pytest.mark.parametrize("secret", [OLD_SECRET, SECRET], ids=["old", "new"])
def test_a_genuine_webhook_becomes_an_event(
    secret: str, receiver: Receiver, airflow: Airflow
) -> None:
    """The event is of the very asset, and holds the run's id and nothing of what is claimed."""
    body, headers = webhook({"event": END, "test_run_id": 456, "result": "passed"}, secret)
    answer = receiver.send(body, headers)
    assert (answer.status_code, answer.json()) == (200, {"created": 1})
    assert airflow.events == [{"asset_id": 1, "extra": {"test_run_id": 456}}]


def test_nothing_else_becomes_one(
    receiver: Receiver, airflow: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    """A forged webhook is refused, with nothing told but that; what comes before the end, or names
    no run, is taken and left alone."""
    body, headers = webhook({"event": END, "test_run_id": 456})
    for forged in ({}, signed(body, secret_of(b"the-secret-of-another-webhook"))):
        answer = receiver.send(body, forged)
        assert (answer.status_code, answer.text) == (401, "")
    assert receiver.send(body.ljust(LARGEST_BODY + 1), headers).status_code == 413
    for event, run_id in (("test_run.queued", 456), ("webhook.test", 456), (END, -1)):
        assert receiver.told(event, run_id).json() == {"created": None}
    assert airflow.events == []
    assert caplog.text.count("The webhook is refused") == 2
    for secret in (SECRET, OLD_SECRET):
        assert secret.removeprefix("whsec_") not in caplog.text


def test_an_airflow_that_fails_is_told(
    receiver: Receiver, airflow: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends the webhook learns that it was not taken, and no secret is in the log."""
    airflow.answers = 500
    answer = receiver.told(END, 456)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert PASSWORD not in caplog.text
    assert "made-up" not in caplog.text


def test_airflow_takes_the_receiver_for_no_dag() -> None:
    """The folder has both DAGs, and the file beside them is not even read."""
    bag = DagBag(EXAMPLES)
    needs_airflow_3 = {"start_when_a_run_ends.py"}  # assets have watchers from 3.0 on
    broken = {Path(file).name for file in bag.import_errors}
    assert broken <= (needs_airflow_3 if AIRFLOW < (3, 0) else set()), bag.import_errors
    read = {Path(each.file).name for each in bag.dagbag_stats}
    assert "after_webhook.py" in read
    assert "webhook_receiver.py" not in read
    assert {"before_webhook", "after_webhook"} <= set(bag.dags)
    assert after_webhook.TOLD.uri == webhook_receiver.ASSET


@pytest.mark.parametrize(
    ("told", "started", "expected"),
    [
        ([456], [455, 456], 456),
        ([455, 456], [456], 456),
        ([455], [455, 456], None),  # late, or sent again: an older release stays where it is
        ([457], [456], None),  # of somebody else
        ([456], [], None),
    ],
)
def test_the_run_of_the_newest_release_counts(
    told: list[int], started: list[int], expected: int | None
) -> None:
    """Webhooks come for every run of a project, in any order, and more than once."""

    found = after_webhook.after.get_task("newest").python_callable(
        triggering_asset_events=Events(after_webhook.TOLD, told),
        inlet_events=Events(after_webhook.STARTED, started),
    )
    assert found == expected
