"""One run for a call, whatever crashes: Prefect's context in the core's words.

What the attempts of a call leave for the next one is kept by Prefect's server, as inputs of the
flow run: they survive the process, belong to nobody else, and are gone with the flow run. Each is
written once and never changed, so that tasks which run at the same time cannot lose one, as they
could with labels. And each is written before the request that it is about, or that is not sent: so
nothing there means that nothing was started, and nobody has to guess.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID, uuid4

from prefect import get_client
from prefect.client.schemas.objects import StateType

from empirical_provider import request_digest
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.prefect.calls import (
    digest_of,
    flow_run_here,
    open_digest_of,
    place_of,
    place_of_subflow,
    sealed_by,
    without_parameters,
)

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, FlowRunInput, State

    from empirical_provider.prefect.credentials import EmpiricalCredentials
    from empirical_provider.request import TestRunRequest
    from empirical_provider.trigger_once import TriggerOnce

    Record = Mapping[str, Any] | None

__all__ = ["Wanted", "aremembering", "remembering"]

GRACE = 60.0
"""Seconds after a request in which its run may be missing from lists."""

_FOR_GOOD = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}
"""Final states that a flow run leaves only when somebody retries it, for a fresh run.

Not among them is Crashed: a process that died has not finished. Prefect's own retries of a flow
never reach a final state.
"""

_AT_A_TIME = 200

_FIRST = "told_apart"
"""Where a record says what told its call apart when it was made first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a call wants one run for.

    Args:
        credentials: The block with the API key.
        request: The request as the user gave it, without what is added.
        key: The key that the user gave.
        key_in_environment: As for `TriggerOnce`; None: its default.
        after_red: As for `TriggerOnce`.
        policy: As for `TriggerOnce`.

    Raises:
        InvalidRequestError: An argument is not valid; the message names it.
    """

    credentials: EmpiricalCredentials
    request: TestRunRequest
    key: str | None
    key_in_environment: bool | None
    after_red: str
    policy: Any

    def __post_init__(self) -> None:
        self.once(key="any" if self.key is None else self.key)

    def once(self, **more: Any) -> TriggerOnce:
        """Return it in the core's words."""
        from empirical_provider.trigger_once import TriggerOnce

        return TriggerOnce(
            key_in_environment=True if self.key_in_environment is None else self.key_in_environment,
            after_red=self.after_red,
            policy=self.policy,
            grace=GRACE,
            **more,
        )

    def without_flow(self) -> TriggerOnce | None:
        """Return what one run is wanted for where no flow run is: nothing, without a key."""
        return None if self.key is None else self.once(key=self.key, shared=True)


@contextmanager
def remembering(
    wanted: Wanted,
) -> Iterator[tuple[TriggerOnce | None, Callable[[Record], None] | None]]:
    """Return what the core has to know of earlier attempts, and how it leaves word for later ones.

    Raises:
        EmpiricalError: Prefect's server could not be asked or told; nothing was started.
    """
    flow_run = flow_run_here()
    if flow_run is None:
        yield wanted.without_flow(), None
        return
    with get_client(sync_client=True) as api:
        steps, answer = _recall(wanted, flow_run), None
        while True:
            try:
                ask = steps.send(answer)
                answer = getattr(api, ask.method)(*ask.arguments)
            except StopIteration as end:
                once, store = end.value
                break
            except EmpiricalError:
                raise
            except Exception as error:  # noqa: BLE001  # Prefect's are of many kinds
                _refuse_to_start("say what earlier attempts have started", error)

        def save(record: Record) -> None:
            with _saving(wanted, record):
                api.create_flow_run_input(*store.entry(record))

        yield once, save


@asynccontextmanager
async def aremembering(
    wanted: Wanted,
) -> AsyncIterator[tuple[TriggerOnce | None, Callable[[Record], Awaitable[None]] | None]]:
    """Do what `remembering` does, in an async task."""
    flow_run = flow_run_here()
    if flow_run is None:
        yield wanted.without_flow(), None
        return
    async with get_client() as api:
        steps, answer = _recall(wanted, flow_run), None
        while True:
            try:
                ask = steps.send(answer)
                answer = await getattr(api, ask.method)(*ask.arguments)
            except StopIteration as end:
                once, store = end.value
                break
            except EmpiricalError:
                raise
            except Exception as error:  # noqa: BLE001  # Prefect's are of many kinds
                _refuse_to_start("say what earlier attempts have started", error)

        async def save(record: Record) -> None:
            with _saving(wanted, record):
                await api.create_flow_run_input(*store.entry(record))

        yield once, save


# What both forms share


@dataclass(frozen=True, slots=True)
class _Ask:
    """A step: what to call of Prefect's client, the sync or the async one."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Store:
    """Where the records of one call are.

    Args:
        flow_run_id: The flow run that keeps them.
        call: Which call it is, as far as no secret and no API key tells.
        told_apart: What tells it from others like it: a hash under the API key, with a fingerprint
            of that before it; empty where there are no others.
        first: What told it apart when it was made first, perhaps under another API key.
    """

    flow_run_id: UUID
    call: str
    told_apart: str
    first: str

    @property
    def name(self) -> str:
        """The name of its records, but for what makes each of them one of its own."""
        return "-".join(filter(None, ("empirical", self.call, self.told_apart)))

    def entry(self, record: Record) -> tuple[UUID, str, str]:
        """Return what to write; an entry of its own, as none can be changed."""
        kept = {**(record or {}), _FIRST: self.first}
        return self.flow_run_id, f"{self.name}-{uuid4().hex}", json.dumps(kept)

    def recall(self) -> Generator[_Ask, list[FlowRunInput], tuple[_Store, Record]]:
        """Read the last record, and what told the call apart first; the oldest is listed first.

        An earlier attempt may have had another API key. Calls that only secrets or parameters tell
        apart cannot be told apart then, unless all but one are known again.

        Raises:
            EmpiricalError: There are others.
        """
        found: list[FlowRunInput] = []
        start = f"empirical-{self.call}-"
        while True:
            names = {each.key for each in found}
            more = yield _Ask("filter_flow_run_input", (self.flow_run_id, start, _AT_A_TIME, names))
            found += more
            if len(more) < _AT_A_TIME:
                break
        values = {each.key.rpartition("-")[0]: each.decoded_value for each in found}
        records = {name: each for name, each in values.items() if isinstance(each, dict)}
        name = self.name
        if name not in records:
            known = {each.get(_FIRST) for at, each in records.items() if self._has_our_key(at)}
            others = [
                at
                for at, each in records.items()
                if not self._has_our_key(at) and each.get(_FIRST) not in known
            ]
            if len({records[at].get(_FIRST) for at in others}) > 1:
                raise EmpiricalError(
                    f"The API key was rotated since an attempt of this flow run made {len(others)} "
                    f"calls that only secrets or parameters tell apart. No test run was started: "
                    f"nothing tells any more which of theirs is that of this call. Start another "
                    f"flow run."
                )
            name = others[-1] if others else name
        record = records.get(name)
        first = (record or {}).get(_FIRST)
        return replace(self, first=first if isinstance(first, str) else self.first), record

    def _has_our_key(self, name: str) -> bool:
        return name.startswith(f"empirical-{self.call}-{self.told_apart.partition('-')[0]}-")


def _recall(wanted: Wanted, flow_run: FlowRun) -> Generator[_Ask, Any, tuple[TriggerOnce, _Store]]:
    """Find out for which one run the call is meant, and what is known of its earlier attempts.

    Once a person has retried the flow run, it does not go by the user's key: they want a fresh run,
    and others may go on with theirs.
    """
    digest = digest_of(wanted.credentials, wanted.request)
    place = place_of(digest, flow_run)
    root, path = yield from _root_of(flow_run, digest)
    states: list[State] = yield _Ask("read_flow_run_states", (root.id,))
    generation = sum(state.type in _FOR_GOOD for state in states)
    shared = wanted.key is not None and generation == 0
    told_apart = ""
    if shared and wanted.key is not None:
        call = open_digest_of(wanted.credentials, wanted.key)
    else:
        asked = open_digest_of(wanted.credentials, wanted.request)
        call = request_digest.digest(asked, without_parameters([path, place]))
        fingerprint = sealed_by(wanted.credentials, str(root.id), "API key")[:16]
        told_apart = f"{fingerprint}-{sealed_by(wanted.credentials, path, place, digest)[:32]}"
    place_of_records = _Store(root.id, call[:32], told_apart, told_apart)
    store, saved = yield from place_of_records.recall()
    own = json.dumps(["prefect", str(root.id), store.call, store.first])
    key = wanted.key if shared and wanted.key is not None else own
    once = wanted.once(key=key, generation=0 if shared else generation, shared=shared, saved=saved)
    return once, store


def _root_of(
    flow_run: FlowRun, digest: str
) -> Generator[_Ask, Any, tuple[FlowRun, list[list[Any]]]]:
    """Return the flow run that retries are made of, and the way from it to a subflow's run.

    A retry may give a subflow another run. A flow run of a deployment has retries of its own.
    """
    path: list[list[Any]] = []
    while flow_run.deployment_id is None and flow_run.parent_task_run_id is not None:
        stand_in = yield _Ask("read_task_run", (flow_run.parent_task_run_id,))
        if stand_in.flow_run_id is None:
            break
        parent: FlowRun = yield _Ask("read_flow_run", (stand_in.flow_run_id,))
        path.insert(0, place_of_subflow(digest, flow_run, stand_in, parent))
        flow_run = parent
    return flow_run, path


@contextmanager
def _saving(wanted: Wanted, record: Record) -> Iterator[None]:
    """Let a request to start a run wait for its record; what comes after it may be missed."""
    from empirical_provider.trigger_once import is_intent

    try:
        yield
    except Exception as error:  # noqa: BLE001  # Prefect's are of many kinds
        if is_intent(record):
            _refuse_to_start("note that a test run is about to be started", error)
        wanted.credentials.logger.warning(
            "Prefect's server could not note which test run was started: %r. A later attempt looks "
            "it up.",
            error,
        )


def _refuse_to_start(what: str, error: Exception) -> NoReturn:
    refused = EmpiricalError(
        f"Prefect's server could not {what} ({error!r}). No test run was started, as a retry could "
        f"not tell; run it again when the server answers."
    )
    refused.may_pass = True
    raise refused from error
