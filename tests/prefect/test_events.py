"""The flow that emits an event for each test run that ends: each once, also after a crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.variables import Variable

from empirical_provider import EmpiricalError, InvalidRequestError, TestRunRequest
from empirical_provider.checks import LARGEST
from empirical_provider.emulator import Emulator
from empirical_provider.ended_runs import Cursor
from empirical_provider.prefect import EmpiricalCredentials, emit_test_run_events
from empirical_provider.prefect import events as events_module

pytestmark = pytest.mark.slow  # each look takes a whole flow run

EVENT = "empirical.test-run.finished"
CURSOR = "told-in-tests"


@pytest.fixture
def empirical(api_key: str) -> Iterator[Emulator]:
    """Return a service of this test's own: an event's id goes by the service and the run."""
    with Emulator(api_keys=[api_key]) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _ready(credentials: EmpiricalCredentials, server: SyncPrefectClient) -> None:
    """Save the block that the flow loads, and forget what was told."""
    credentials.save("prod", overwrite=True)
    for variable in server.read_variables():
        if variable.name.startswith(("told-", "empirical-")):
            server.delete_variable_by_name(variable.name)


@pytest.fixture
def end(empirical: Emulator, credentials: EmpiricalCredentials) -> Callable[..., int]:
    """Return a function that starts a run, and lets it end."""

    def play(environment: str = "staging", outcome: str = "passed") -> int:
        empirical.script(environment, outcome)
        with credentials.get_client() as client:
            run_id = client.trigger(TestRunRequest(environment=environment)).id
        empirical.set_state(run_id, "ended")
        return run_id

    return play


def look(**parameters: Any) -> Any:
    """Run the flow once, and return its final state."""
    given = {"credentials": "prod", "cursor": CURSOR, **parameters}
    return asyncio.run(emit_test_run_events(**given, return_state=True))


def told(**parameters: Any) -> list[int]:
    """Run the flow once, and return the ids of the runs that it has emitted an event for."""
    ids: list[int] = look(**parameters).result()["run_ids"]
    return ids


def events(server: SyncPrefectClient, empirical: Emulator, at_least: int = 0) -> list[Any]:
    """Return the events about the service's runs, once there are enough of them."""
    query = {"filter": {"event": {"name": [EVENT]}}, "limit": 50}
    end = time.monotonic() + 30
    while True:
        found = server.request("POST", "/events/filter", json=query).json()["events"]
        ours = [each for each in found if empirical.url in str(each["payload"]["url"])]
        if len(ours) >= at_least:
            return ours
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_each_end_has_an_event(
    empirical: Emulator, end: Callable[..., int], server: SyncPrefectClient
) -> None:
    """What ended before is past; then each end has one event, with the verdict and its labels."""
    end()
    assert told() == []
    green, red = end(), end("production", "failed")
    assert told() == [green, red]
    state = look()
    assert (state.message, state.result()["run_ids"]) == ("No test run has ended.", [])
    found = {
        each["payload"]["run_id"]: each
        for each in events(server, empirical, 2)
        if each["payload"]["run_id"] in {green, red}
    }
    event = found[red]
    url = f"{empirical.url}/acme/test-runs/{red}"
    assert event["payload"]["outcome"] == "failed"
    assert event["resource"] == {
        "prefect.resource.id": f"empirical.test-run.{red}",
        "prefect.resource.name": f"Empirical test run {red}",
        "empirical.outcome": "failed",
        "empirical.decision": "fail",
        "empirical.environment": "production",
        "empirical.branch": "main",
        "empirical.url": url,
    }


def test_the_final_state_names_the_runs(end: Callable[..., int]) -> None:
    """The state's message says which runs have ended and how."""
    told()
    run_id = end(outcome="failed")
    assert look().message == f"Test runs have ended: {run_id} failed."


def test_filters(end: Callable[..., int]) -> None:
    """Only what the filters let pass has an event, and the rest is past."""
    filters = {"environment": "staging", "outcome": ["failed"]}
    told(**filters)
    end()
    end("production", "failed")
    red = end(outcome="failed")
    assert told(**filters) == [red]
    assert told() == []


def test_different_filters_keep_different_cursors(
    end: Callable[..., int], server: SyncPrefectClient
) -> None:
    """Two deployments with their own filters do not take each other's events away."""
    for filters in ({"outcome": "passed"}, {"outcome": "failed"}):
        told(cursor=None, **filters)
    green, red = end(), end(outcome="failed")
    assert told(cursor=None, outcome="passed") == [green]
    assert told(cursor=None, outcome="failed") == [red]
    names = {each.name for each in server.read_variables()}
    assert sum(name.startswith("empirical-test-runs-prod-") for name in names) == 2


def test_another_policy_has_events_of_its_own(
    empirical: Emulator, end: Callable[..., int], server: SyncPrefectClient
) -> None:
    """Where two deployments judge the same run differently, each one's word is stored."""
    policies: tuple[dict[str, Any], ...] = ({}, {"min_tests": 1_000})
    for policy in policies:
        told(cursor=None, policy=policy)
    run_id = end()
    for policy in policies:
        assert told(cursor=None, policy=policy) == [run_id]
    stored = [
        each["payload"]["outcome"]
        for each in events(server, empirical, 2)
        if each["payload"]["run_id"] == run_id
    ]
    assert sorted(stored) == ["no_tests", "passed"]


def test_a_crash_after_the_event_does_not_double_it(
    empirical: Emulator, end: Callable[..., int], server: SyncPrefectClient
) -> None:
    """A run whose event was emitted and not remembered is emitted again, and stored once."""
    told()
    before = Variable.get(CURSOR)
    run_id = end()
    assert told() == [run_id]
    Variable.set(CURSOR, before, overwrite=True)
    assert told() == [run_id]
    later = end()
    assert told() == [later]
    stored = [each["payload"]["run_id"] for each in events(server, empirical, 2)]
    assert stored.count(run_id) == stored.count(later) == 1


def test_what_fails_is_made_up_for(
    empirical: Emulator, end: Callable[..., int], api_key: str
) -> None:
    """A look that fails is a failed flow run, and the next one emits what that one could not."""
    told()
    run_id = end()
    empirical.revoke(api_key)
    with pytest.raises(EmpiricalError):
        told()
    empirical.restore(api_key)
    assert told() == [run_id]


def test_a_variable_that_is_no_cursor_begins_anew(end: Callable[..., int]) -> None:
    """What a person has written into the Variable makes no flood of events."""
    Variable.set(CURSOR, "nonsense", overwrite=True)
    end()
    assert told() == []
    later = end()
    assert told() == [later]


def test_a_bad_filter_is_refused_before_any_request(empirical: Emulator) -> None:
    """A misspelt outcome fails the flow run, and the service is not asked."""
    with pytest.raises(InvalidRequestError, match="outcome must be passed or"):
        told(outcome="red")
    assert empirical.requests == []


def cursor_of(told: int, still_open: int, step: int) -> Cursor:
    """Return a cursor with so many ids, as large as ids get."""
    ids = range(LARGEST - (told + still_open) * step, LARGEST, step)
    return Cursor(
        floor=5, told=frozenset(ids[:told]), open=frozenset(ids[told : told + still_open])
    )


@pytest.mark.parametrize(
    ("told_ids", "open_ids"), [(0, 0), (1, 1), (600, 0), (0, 600), (300, 300), (7, 0)]
)
def test_a_cursor_of_a_burst_is_saved_whole(
    told_ids: int, open_ids: int, server: SyncPrefectClient
) -> None:
    """However many runs start or end at a time, all that was emitted is known the next time, and no
    Variable is left over once there are fewer."""

    async def save_and_load() -> None:
        parts: list[str] = []
        for cursor in (
            cursor_of(2, 2, 1),
            cursor_of(told_ids, open_ids, 977),
            cursor_of(told_ids, open_ids, 978),
            cursor_of(1, 1, 1),
        ):
            await events_module._save(CURSOR, cursor, parts)
            known, parts = await events_module._saved(CURSOR)
            assert known == cursor
            names = [each.name for each in server.read_variables(limit=200)]
            assert sorted(each for each in names if "-part-" in each) == sorted(parts)

    asyncio.run(save_and_load())


def test_a_burst_has_an_event_for_each_end(
    end: Callable[..., int],
    credentials: EmpiricalCredentials,
    empirical: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the cursor is in several Variables, each end still has its one event."""
    monkeypatch.setattr(events_module, "_LONGEST_VARIABLE", 40)
    monkeypatch.setattr(events_module, "_IDS_IN_A_PART", 4)
    told()
    empirical.script("production", "stuck")
    with credentials.get_client() as client:
        request = TestRunRequest(environment="production")
        still_open = [client.trigger(request).id for _ in range(6)]
    ended = [end() for _ in range(5)]
    assert told() == ended
    assert told() == []
    for run_id in still_open:
        empirical.set_state(run_id, "ended")
    assert told() == still_open
    assert told() == []


def test_a_cursor_with_a_part_missing_is_no_cursor_to_go_by(
    end: Callable[..., int], server: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was emitted is unknown then: the flow run fails, says what to do, and saves nothing."""
    monkeypatch.setattr(events_module, "_LONGEST_VARIABLE", 20)
    told()
    end()
    end()
    assert len(told()) == 2
    before = Variable.get(CURSOR)
    [part] = before["parts"]
    server.delete_variable_by_name(part)
    end()
    with pytest.raises(EmpiricalError, match=f"Variable {part}.*cannot be read.*delete.*{CURSOR}"):
        told()
    assert Variable.get(CURSOR) == before
