"""Receive Empirical's webhooks, and resume the flow runs that wait for the run they are about.

Needs Prefect's settings, and in ``EMPIRICAL_WEBHOOK_SECRETS`` the secret of the webhook: while it
is being changed, the old one and the new one, with a space between them. From a shell::

    pip install starlette uvicorn
    uvicorn webhook_receiver:app --app-dir flows_examples --port 8080
"""

from __future__ import annotations

import logging
import os
import time

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.responses import SetStateStatus
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from empirical_provider import WebhookRefusedError, read_webhook
from empirical_provider.webhooks import LARGEST_BODY

log = logging.getLogger(__name__)


def resume(test_run_id: int, patience: float = 60.0) -> list[str]:
    """Resume the flow runs that wait for a test run; return their ids.

    Args:
        test_run_id: Id of the test run, by which they are tagged.
        patience: Seconds to wait for those that are about to suspend themselves.
    """
    ours = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"empirical-test-run:{test_run_id}"]))
    give_up_at = time.monotonic() + patience
    resumed = []
    with get_client(sync_client=True) as prefect:
        while True:
            found = prefect.read_flow_runs(flow_run_filter=ours)
            for each in found:
                if each.state and each.state.is_paused():
                    answer = prefect.resume_flow_run(each.id)
                    if answer.status == SetStateStatus.ACCEPT:  # nobody else was faster
                        resumed.append(str(each.id))
            # The tests of a flow run may have ended before it is suspended, for its only time.
            early = [
                each
                for each in found
                if each.state and each.state.is_running() and not each.empirical_policy.pause_keys
            ]
            if not early or time.monotonic() > give_up_at:
                return resumed
            time.sleep(1)


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
    resumed = []
    if event.test_run_id is not None and event.may_tell_the_end:
        resumed = await run_in_threadpool(resume, event.test_run_id)
    return JSONResponse({"resumed": resumed})


app = Starlette(routes=[Route("/", receive, methods=["POST"])])
