"""Receive Empirical's webhooks, and turn them into events of the asset that starts `after_webhook`.

No DAG: it runs beside Airflow (3.0 or newer), whose REST API it calls. Its environment needs

* ``EMPIRICAL_WEBHOOK_SECRETS``: the secret of the webhook; while it is being changed, the old one
  and the new one, with a space between them;
* ``AIRFLOW_URL``, ``AIRFLOW_USERNAME`` and ``AIRFLOW_PASSWORD``, of a user who may create events of
  assets.

From a shell::

    pip install empirical-provider starlette uvicorn
    uvicorn webhook_receiver:app --app-dir dags_examples --port 8080
"""

from __future__ import annotations

import logging
import os

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from empirical_provider import WebhookRefusedError, read_webhook
from empirical_provider.webhooks import LARGEST_BODY

ASSET = "empirical-webhooks"

log = logging.getLogger(__name__)


def create_event(test_run_id: int) -> int:
    """Create an event of the asset, with the id of a test run; return the event's own id."""
    with httpx.Client(base_url=os.environ["AIRFLOW_URL"], timeout=30) as airflow:

        def ask(method: str, path: str, **what: object) -> dict:
            return airflow.request(method, path, **what).raise_for_status().json()

        user = {name: os.environ[f"AIRFLOW_{name.upper()}"] for name in ("username", "password")}
        token = ask("POST", "/auth/token", json=user)["access_token"]
        airflow.headers["Authorization"] = f"Bearer {token}"
        known = ask("GET", "/api/v2/assets", params={"name_pattern": ASSET})["assets"]
        [asset_id] = [each["id"] for each in known if each["name"] == ASSET]
        event = {"asset_id": asset_id, "extra": {"test_run_id": test_run_id}}
        return ask("POST", "/api/v2/assets/events", json=event)["id"]


async def receive(request: Request) -> Response:
    """Take one webhook."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return Response(status_code=413)
    secrets = os.environ["EMPIRICAL_WEBHOOK_SECRETS"].split()
    try:
        event = read_webhook(body, request.headers, secrets=secrets)
    except WebhookRefusedError as error:
        log.warning("%s", error)
        return Response(status_code=401)
    created = None
    if event.test_run_id is not None and event.may_tell_the_end:
        created = await run_in_threadpool(create_event, event.test_run_id)
    return JSONResponse({"created": created})


app = Starlette(routes=[Route("/", receive, methods=["POST"])])
