"""A ready flow that emits an event for each test run that ends: deploy it with a schedule.

Automations and deployments' triggers go by the events, so that a flow starts when a run ends.
"""

# Annotations are real ones here: Prefect reads them where this module's names are not known.

import hashlib
import json
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from prefect import flow, get_run_logger
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.states import Completed
from prefect.variables import Variable

from empirical_provider.addresses import DEFAULT_BASE_URL
from empirical_provider.end_events import EndFilter
from empirical_provider.ended_runs import Cursor, alook_for_ended_runs
from empirical_provider.exceptions import EmpiricalError, InvalidRequestError
from empirical_provider.prefect.arguments import acredentials_of

if TYPE_CHECKING:
    from empirical_provider.verdict import Verdict

__all__ = ["EVENT", "emit_test_run_events"]

EVENT = "empirical.test-run.finished"
"""The name of the events."""

_KINDS = ("told", "open")
"""Of which kinds the ids in a cursor are."""

_LONGEST_VARIABLE = 5000
"""Characters of JSON that Prefect takes."""

_IDS_IN_A_PART = 250
"""Ids that one Variable holds: each has 16 digits at most, and what is between them."""


@flow(name="emit-test-run-events", persist_result=True, result_serializer="json")
async def emit_test_run_events(
    *,
    credentials: str,
    environment: str | list[str] | None = None,
    branch: str | list[str] | None = None,
    outcome: str | list[str] | None = None,
    policy: dict[str, Any] | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
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
            Where it gets too long for one Variable, in a burst, further ones hold parts of it.

    Returns:
        ``run_ids``, of the runs with an event.

    Raises:
        InvalidRequestError: A parameter is not valid.
        EmpiricalError: The service could not be asked. Nothing is lost: see above.
    """
    wanted = EndFilter(environment=environment, branch=branch, outcome=outcome, policy=policy)
    block = await acredentials_of(credentials)
    name = cursor or _variable(credentials, wanted)
    known, parts = await _saved(name)
    async with block.get_async_client() as client:
        look = await alook_for_ended_runs(client, [known])
    verdicts, after = wanted.tell(known, look)
    async with get_events_client(checkpoint_every=1) as events:  # each is confirmed
        for verdict in verdicts:
            await events.emit(_event(verdict, block.base_url or DEFAULT_BASE_URL, wanted))
    if after != known:
        await _save(name, after, parts)
    told = ", ".join(f"{each.run_id} {each.outcome}" for each in verdicts)
    # Prefect hands on a state's data as what the flow returns, and shows its message.
    return Completed(  # type: ignore[return-value]
        message=f"Test runs have ended: {told}." if told else "No test run has ended.",
        data={"run_ids": [each.run_id for each in verdicts]},
    )


async def _saved(name: str) -> tuple[Cursor | None, list[str]]:
    """Return what was emitted by now, and the further Variables that hold a part of it.

    No cursor means that this is the first time.

    Raises:
        EmpiricalError: A part is missing: what was emitted is not known.
    """
    value: Any = await Variable.aget(name)
    given = value.pop("parts", None) if isinstance(value, dict) else None
    parts = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    for part in parts:
        more: Any = await Variable.aget(part)
        if not isinstance(more, dict):
            raise EmpiricalError(
                f"Variable {part}, which holds a part of the cursor in the Variable {name}, cannot "
                f"be read: it was deleted, or another flow run has just saved a newer cursor. Run "
                f"the flow again. If that does not help, delete the Variable {name} to begin anew."
            )
        for kind in _KINDS:
            value[kind] = [*(value.get(kind) or ()), *(more.get(kind) or ())]
    try:
        return None if value is None else Cursor.of(value), parts
    except InvalidRequestError as error:
        get_run_logger().warning("Variable %s holds no cursor (%s): beginning anew.", name, error)
        return None, parts


async def _save(name: str, cursor: Cursor, parts: list[str]) -> None:
    """Save what was emitted, in several Variables if it is too long for one.

    The named one goes last: until it is there, it and the parts before say what they have said.
    """
    data, new_parts = cursor.as_dict(), list[str]()
    if len(json.dumps(data)) > _LONGEST_VARIABLE:
        ids = [(kind, run_id) for kind in _KINDS for run_id in data[kind]]
        for first in range(0, len(ids), _IDS_IN_A_PART):
            some = ids[first : first + _IDS_IN_A_PART]
            part = {kind: [run_id for of, run_id in some if of == kind] for kind in _KINDS}
            new_parts.append(f"empirical-test-runs-part-{uuid4().hex}")
            await Variable.aset(new_parts[-1], part)
        data |= {kind: [] for kind in _KINDS} | {"parts": new_parts}
    await Variable.aset(name, data, overwrite=True)
    for part_name in parts:
        await Variable.aunset(part_name)


def _variable(credentials: str, wanted: EndFilter) -> str:
    filters = json.dumps(wanted.identity(), sort_keys=True).encode()
    return f"empirical-test-runs-{credentials}-{hashlib.sha256(filters).hexdigest()[:12]}"


def _event(verdict: "Verdict", base_url: str, wanted: EndFilter) -> Event:
    """Return the event, which has the same id when it comes again by the same policy.

    Another policy may say something else of the run: that is news, and no repetition.
    """
    run_id = verdict.run_id
    policy = json.dumps(wanted.identity()["policy"], sort_keys=True)
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
        payload=dict(verdict.as_dict()),
    )
