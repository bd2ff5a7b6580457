"""A ready flow that emits an event for each test run that ends: deploy it with a schedule.

Automations and deployments' triggers go by the events, so that a flow starts when a run ends.
"""

# Annotations are real ones here: Prefect reads them where this module's names are not known.

import hashlib
import json
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.states import Completed
from prefect.variables import Variable

from empirical_provider.addresses import DEFAULT_BASE_URL
from empirical_provider.end_events import EndFilter
from empirical_provider.ended_runs import Cursor, alook_for_ended_runs
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.prefect.credentials import EmpiricalCredentials

if TYPE_CHECKING:
    from empirical_provider.verdict import Verdict

__all__ = ["EVENT", "emit_test_run_events"]

EVENT = "empirical.test-run.finished"
"""The name of the events."""


@flow(name="emit-test-run-events", persist_result=True, result_serializer="json")
async def emit_test_run_events(
    *,
    credentials: str,
    environment: str | list[str] | None = None,
    branch: str | list[str] | None = None,
    outcome: str | list[str] | None = None,
    policy: dict[str, Any] | None = None,
    cursor: str | None = None,
) -> State[dict[str, Any]]:
    """Emit ``empirical.test-run.finished`` for each test run that has ended since the last time.

    Each flow run takes one look, so that its schedule is the poll interval; the first one emits
    nothing. Where a flow run fails or never takes place, the next one makes up for it. An event's
    id goes by the test run: Prefect keeps one that is emitted again, after a crash say, only once.

    The event's payload is the verdict. Its resource is ``empirical.test-run.ID``, with the labels
    ``empirical.outcome``, ``empirical.decision``, ``empirical.environment``, ``empirical.branch``
    and ``empirical.url`` to match by. A gate emits an event of this name, too, once for its own
    flow run; that has no labels.

    Args:
        credentials: Name of a saved Empirical Credentials block.
        environment: Slug of the environment, or a list of them; default: all.
        branch: Branch of the test repository, or a list of them; default: all.
        outcome: passed, failed, error, cancelled, superseded, no_tests or incomplete, or a list of
            them; default: all.
        policy: What the verdicts go by, as in the gate.
        cursor: Name of the Variable that says what was emitted; default: one for the block and
            the filters. A Variable that is deleted begins anew: what has ended by then is past.

    Returns:
        The state Completed; its data holds ``run_ids``, of the runs with an event.

    Raises:
        InvalidRequestError: A parameter is not valid.
        EmpiricalError: The service could not be asked. Nothing is lost: see above.
    """
    wanted = EndFilter(environment=environment, branch=branch, outcome=outcome, policy=policy)
    block: EmpiricalCredentials = await EmpiricalCredentials.aload(credentials)
    name = cursor or _variable(credentials, wanted)
    known = await _saved(name)
    async with block.get_async_client() as client:
        look = await alook_for_ended_runs(client, [known])
    verdicts, after = wanted.tell(known, look)
    async with get_events_client(checkpoint_every=1) as events:  # each is confirmed
        for verdict in verdicts:
            await events.emit(_event(verdict, block.base_url or DEFAULT_BASE_URL, wanted))
    if after != known:
        await Variable.aset(name, after.as_dict(), overwrite=True)
    told = ", ".join(f"{each.run_id} {each.outcome}" for each in verdicts)
    return Completed(
        message=f"Test runs have ended: {told}." if told else "No test run has ended.",
        data={"run_ids": [each.run_id for each in verdicts]},
    )


async def _saved(name: str) -> Cursor | None:
    """Return what was emitted by now; None: this is the first time."""
    value = await Variable.aget(name)
    try:
        return None if value is None else Cursor.of(value)
    except InvalidRequestError as error:
        get_run_logger().warning("Variable %s holds no cursor (%s): beginning anew.", name, error)
        return None


def _variable(credentials: str, wanted: EndFilter) -> str:
    filters = json.dumps(wanted.as_dict(), sort_keys=True).encode()
    return f"empirical-test-runs-{credentials}-{hashlib.sha256(filters).hexdigest()[:12]}"


def _event(verdict: "Verdict", base_url: str, wanted: EndFilter) -> Event:
    """Return the event, which has the same id when it comes again by the same policy.

    Another policy may say something else of the run: that is news, and no repetition.
    """
    run_id = verdict.run_id
    policy = json.dumps(wanted.as_dict()["policy"], sort_keys=True)
    labels = {
        "outcome": str(verdict.outcome),
        "decision": str(verdict.decision),
        "environment": verdict.environment,
        "branch": verdict.branch,
        "url": verdict.url,
    }
    resource = {
        "prefect.resource.id": f"empirical.test-run.{run_id}",
        "prefect.resource.name": f"Empirical test run {run_id}",
        **{f"empirical.{name}": value for name, value in labels.items() if value is not None},
    }
    return Event(
        id=uuid5(NAMESPACE_URL, f"{base_url.rstrip('/')}/api/test-runs/{run_id} {policy}"),
        event=EVENT,
        resource=Resource.model_validate(resource),
        payload=verdict.as_dict(),
    )
