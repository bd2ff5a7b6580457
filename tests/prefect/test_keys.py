"""A key of the user's: one run for all that use it, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow

from empirical_provider import InvalidRequestError
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    run_empirical_tests,
    run_tests,
)
from tests.deployment.processes import until
from tests.examples import THOROUGH

if TYPE_CHECKING:
    from conftest import Twin


def _ids(empirical: Emulator) -> list[int]:
    return [each.id for each in empirical.runs]


def _count(empirical: Emulator, endpoint: str) -> int:
    return [each.endpoint for each in empirical.requests].count(endpoint)


@pytest.mark.seconds
@pytest.mark.usefixtures("echoes")
def test_a_key_is_shared_by_flows(twin: Twin, call: dict[str, Any], empirical: Emulator) -> None:
    """Who comes with the same key gets the run that there is, in a flow or not."""
    keyed = {**call, "key": "release-7"}

    runs = [
        *twin.in_flow(keyed, keyed).result(),
        *twin.in_flow(keyed).result(),
        twin(**keyed),
    ]
    other = twin(**{**call, "key": "release-8"})

    assert [each["id"] for each in runs] == _ids(empirical)[:1] * 4
    assert _ids(empirical)[1:] == [other["id"]]


@pytest.mark.usefixtures("echoes")
def test_a_key_for_another_request_is_refused(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """The error names what differs, and nothing is started."""
    keyed = {**call, "key": "release-7"}
    twin(**keyed, tags=["smoke"])

    with pytest.raises(InvalidRequestError, match=r"used before.* differs in tags"):
        twin.with_options(retries=1)(**keyed)

    assert len(empirical.runs) == 1


@pytest.mark.usefixtures("echoes")
def test_a_lost_answer_with_a_key_needs_no_flow(
    twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """Outside of a flow the key is enough to find the run."""
    empirical.fault("trigger", "drop", when="after")

    run = twin(**call, key="release-7")

    assert [run["id"]] == _ids(empirical)
    assert _count(empirical, "trigger") == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"key": ""}, "key must be a non-empty string"),
        ({"key_in_environment": "yes"}, "key_in_environment must be"),
        ({"on_retry_after_red": "rerun"}, "on_retry_after_red must be"),
        ({"metadata": {"trigger_key": "mine"}, "key": "release-7"}, "must not hold 'trigger_key'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_key_starts_nothing(
    bad: dict[str, Any], words: str, twin: Twin, call: dict[str, Any], empirical: Emulator
) -> None:
    """What is wrong with the key or its options is told before anything is sent."""
    with pytest.raises(InvalidRequestError, match=words):
        twin.without_prefect(**{**call, **bad})

    assert _count(empirical, "trigger") == 0


@pytest.mark.parametrize("keyed", [True, False])
def test_who_shares_a_run_does_not_cancel_it(
    keyed: bool, running: Twin, gate: dict[str, Any], empirical: Emulator
) -> None:
    """With a key the default is to leave the run alone when a user cancels the flow run."""
    empirical.script("staging", "stuck")
    key = {"key": "release-7"} if keyed else {}
    end = KeyboardInterrupt("a person")

    def interrupt(*_: Any, **__: Any) -> None:
        raise end

    async def cancelled() -> bool:
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("empirical_provider.prefect.cancelling._is_cancelled", lambda: True)
        patch.setattr("empirical_provider.prefect.cancelling._ais_cancelled", cancelled)
        patch.setattr("empirical_provider.prefect.running.wait_for_verdict", interrupt)
        patch.setattr("empirical_provider.prefect.running.await_verdict", interrupt)
        with pytest.raises(KeyboardInterrupt):
            running.without_prefect(**gate, **key)

    assert _count(empirical, "cancel_test_run") == (0 if keyed else 1)


@pytest.mark.usefixtures("echoes")
def test_a_job_takes_a_key_for_one_run(
    credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """Two jobs with one key share the run, and neither cancels it; who attaches to a run does."""
    job = EmpiricalTestJob(credentials=credentials, environment="staging")

    one, two = (job.trigger(key="release-7") for _ in range(2))

    assert [one.run_id, two.run_id] == _ids(empirical) * 2
    assert not one._arguments(cancel=None, report_path=None)["cancel_on_cancellation"]
    assert one._arguments(cancel=True, report_path=None)["cancel_on_cancellation"]
    assert job.attach(one.run_id)._arguments(cancel=None, report_path=None)[
        "cancel_on_cancellation"
    ]


@pytest.mark.usefixtures("echoes")
def test_the_ready_flow_takes_a_key(credentials: EmpiricalCredentials, empirical: Emulator) -> None:
    """Two runs of the flow for one release come to one verdict."""
    credentials.save("keyed", overwrite=True)
    call = {"credentials": "keyed", "environment": "staging", "key": "release-7"}

    verdicts = [run_empirical_tests(**call, poll_interval=0.01) for _ in range(2)]

    assert [each["run_id"] for each in verdicts] == _ids(empirical) * 2


@pytest.mark.slow  # all twenty have to start
@pytest.mark.usefixtures("echoes")
def test_twenty_tasks_with_one_key(
    gate: dict[str, Any], empirical: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started at the same time they come to one verdict; runs that were too many are cancelled.

    Unless everything is tried it is six tasks.
    """
    count = 20 if THOROUGH else 6
    monkeypatch.setattr("empirical_provider.prefect.durable.GRACE", 10.0)
    empirical.script("staging", "stuck")

    @flow
    def releases() -> list[Any]:
        futures = [run_tests.submit(**gate, key="release-7") for _ in range(count)]
        until("all tasks run", lambda: all(each.state.is_running() for each in futures))
        until("one run is left", lambda: len(_alive(empirical)) == 1)
        # One that is cancelled later than the others look may still be alive for a moment.
        until("it is the first", lambda: _alive(empirical) == _ids(empirical)[:1])
        empirical.set_state(_ids(empirical)[0], "ended")
        return [each.result() for each in futures]

    verdicts = releases()

    assert {each["run_id"] for each in verdicts} == {_ids(empirical)[0]}
    assert {each["outcome"] for each in verdicts} == {"passed"}
    assert len(verdicts) == count
    assert _alive(empirical) == []


def _alive(empirical: Emulator) -> list[int]:
    ended = {"ended", "error", "cancelling", "cancelled"}
    return [each.id for each in empirical.runs if each.state not in ended]
