"""The job block and its run: what is saved, what each verb does, and that no key travels."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from empirical_provider import (
    EmpiricalError,
    NotFoundError,
    TestsFailedError,
)
from empirical_provider.emulator import Emulator
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    EmpiricalTestJobRun,
    trigger_test_run,
)


class TestBlockStandard(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        """Run Prefect's own suite for blocks on ours."""
        return EmpiricalTestJob


@pytest.fixture
def job(credentials: EmpiricalCredentials) -> EmpiricalTestJob:
    """Return a job, not saved, that looks often."""
    return EmpiricalTestJob(
        credentials=credentials,
        environment="staging",
        tags=["smoke"],
        policy={"min_tests": 2},
        poll_interval=0.01,
    )


_ASYNC_NAMES = {
    "wait_for_completion": "await_for_completion",
    **{
        name: f"a{name}"
        for name in ("trigger", "attach", "fetch_result", "status", "url", "cancel")
    },
}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a way to call a method by its sync name, in one form and in the other."""

    def sync(owner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(owner, name)(*args, **kwargs)

    def twin(owner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(getattr(owner, _ASYNC_NAMES[name])(*args, **kwargs))

    return sync if request.param == "sync" else twin


def test_the_names_that_users_databases_hold_are_pinned() -> None:
    """A renamed slug or field, or a new required one, would break every saved block."""
    assert EmpiricalTestJob.get_block_type_slug() == "empirical-test-job"
    assert EmpiricalTestJob.get_block_type_name() == "Empirical Test Job"
    fields = EmpiricalTestJob.model_fields
    assert list(fields) == [
        "credentials",
        "environment",
        "tags",
        "policy",
        "poll_interval",
        "timeout",
        "key_in_environment",
        "on_retry_after_red",
    ]
    required = [name for name, each in fields.items() if each.is_required()]
    assert required == ["credentials", "environment"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"enviroment": "x"}, "unknown key 'enviroment'; known are credentials, environment"),
        ({"environment": " "}, "environment must be a non-empty string"),
        ({"tags": [""]}, r"tags\[0\] must be a non-empty string"),
        ({"policy": {"failed": "ignore"}}, "policy.failed must be pass or fail or skip"),
        ({"policy": {"min": 2}}, "policy has the unknown key 'min'"),
        ({"poll_interval": 0}, "poll_interval must be a number above 0"),
        ({"timeout": -1}, "timeout must be a number above 0"),
    ],
)
def test_a_bad_job_is_refused_when_it_is_made(
    fields: dict[str, Any], words: str, credentials: EmpiricalCredentials, api_key: str
) -> None:
    """The core's own words say what is wrong, long before the release, and without the key."""
    with pytest.raises(ValidationError, match=words) as caught:
        EmpiricalTestJob(**{"credentials": credentials, "environment": "staging", **fields})

    assert api_key not in f"{caught.value!r}"


def test_a_saved_job_loads_and_runs(
    job: EmpiricalTestJob, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """What was saved is what runs, whether its credentials were saved on their own or not."""
    credentials.save("of-the-job", overwrite=True)
    job.save("inline", overwrite=True)
    job.credentials = EmpiricalCredentials.load("of-the-job")
    job.save("by-reference", overwrite=True)

    for name in ("inline", "by-reference"):
        loaded = EmpiricalTestJob.load(name)
        run = loaded.trigger()
        run.wait_for_completion()
        assert run.fetch_result()["outcome"] == "passed"
    assert [each.body["tags"] for each in empirical.runs] == [["smoke"], ["smoke"]]
    assert loaded.credentials.saved_name == "of-the-job"


def test_a_green_run(job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator) -> None:
    """Trigger, state, page, wait and verdict, with what is special about this release."""
    run = call(job, "trigger", build={"version": "1.2.3"}, tags=["shop"])

    (made,) = empirical.runs
    assert (made.body["build"], made.body["tags"]) == ({"version": "1.2.3"}, ["shop"])
    assert run.run_id == made.id
    assert call(run, "url") == f"{empirical.url}/acme/test-runs/{made.id}"
    assert call(run, "status") == "queued"
    assert call(run, "wait_for_completion") is None
    verdict = call(run, "fetch_result")
    assert (verdict["run_id"], verdict["outcome"], verdict["decision"]) == (
        made.id,
        "passed",
        "pass",
    )
    assert call(run, "status") == "ended"


def test_a_red_run(job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator) -> None:
    """The wait raises, and the verdict is there all the same."""
    empirical.script("staging", "failed")
    run = call(job, "trigger")

    with pytest.raises(TestsFailedError) as caught:
        call(run, "wait_for_completion")

    assert call(run, "fetch_result") == caught.value.verdict


def test_the_policy_of_the_job_decides(
    credentials: EmpiricalCredentials, call: Callable[..., Any], empirical: Emulator
) -> None:
    """Policy and time-out come from the block, in the wait and in a verdict without a wait."""
    empirical.script("staging", "stuck")
    job = EmpiricalTestJob(
        credentials=credentials,
        environment="staging",
        policy={"timed_out": "skip", "cancelled": "pass"},
        poll_interval=0.01,
        timeout=0.2,
    )
    run = call(job, "trigger")

    call(run, "wait_for_completion")
    assert call(run, "fetch_result")["decision"] == "skip"

    again = call(job, "attach", run.run_id)
    empirical.set_state(run.run_id, "cancelled")
    assert call(again, "fetch_result")["decision"] == "pass"


def test_a_verdict_on_a_live_run_is_refused(
    job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator
) -> None:
    """Who does not wait gets no verdict, but the advice to wait."""
    empirical.script("staging", "stuck")
    run = call(job, "trigger")

    with pytest.raises(EmpiricalError, match="no verdict yet"):
        call(run, "fetch_result")


def test_cancel(job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator) -> None:
    """A live run is cancelled; a run that had finished is no error, but is told apart."""
    empirical.script("staging", "stuck")
    run = call(job, "trigger")

    assert call(run, "cancel") is True
    empirical.set_state(run.run_id, "cancelled")
    assert call(run, "cancel") is False


def test_attach(job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator) -> None:
    """A run that was started elsewhere can be awaited; one that does not exist is named at once."""
    made = call(job, "trigger").run_id

    run = call(job, "attach", str(made))
    call(run, "wait_for_completion")
    assert call(run, "fetch_result")["run_id"] == made
    assert len(empirical.runs) == 1
    with pytest.raises(NotFoundError):
        call(job, "attach", made + 1000)


def test_a_misspelt_change_starts_nothing(
    job: EmpiricalTestJob, call: Callable[..., Any], empirical: Emulator
) -> None:
    """What is no field of the request is no argument."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'brnach'"):
        call(job, "trigger", brnach="main")

    assert empirical.requests == []


def test_a_trigger_shows_its_arguments() -> None:
    """Its signature has what the task takes, but for what only the block says."""
    parameters = inspect.signature(EmpiricalTestJob.trigger).parameters
    task = inspect.signature(trigger_test_run.fn).parameters

    assert {*task} - {*parameters} == {"credentials", "policy"}
    assert [name for name in task if name in parameters] == [*parameters][1:]
    twin = inspect.signature(EmpiricalTestJob.atrigger).parameters
    assert parameters == twin
    assert {each.kind for name, each in parameters.items() if name != "self"} == {
        inspect.Parameter.KEYWORD_ONLY
    }


def test_a_pickled_run_leaves_its_credentials_behind(
    job: EmpiricalTestJob, call: Callable[..., Any], api_key: str
) -> None:
    """The key is not in the pickle; the id, the page and the verdict are, with advice for more."""
    run = call(job, "trigger")
    call(run, "wait_for_completion")
    pickled = pickle.dumps(run)
    again = pickle.loads(pickled)

    assert api_key.encode() not in pickled
    assert api_key not in f"{run!r}{again!r}{vars(again)}"
    assert isinstance(again, EmpiricalTestJobRun)
    assert again.run_id == run.run_id
    assert call(again, "url") == call(run, "url")
    assert call(again, "fetch_result") == call(run, "fetch_result")
    with pytest.raises(EmpiricalError, match=rf"use EmpiricalTestJob\.attach\({run.run_id}\)"):
        call(again, "status")
    assert call(run, "status") == "ended", "the run that was pickled has lost its credentials"


def test_every_method_has_its_twin() -> None:
    """Each form of each verb exists, and nothing public beside them but the run's id."""
    ours = {name for name in vars(EmpiricalTestJobRun) if not name.startswith("_")}
    ours |= {name for name in vars(EmpiricalTestJob) if name.lstrip("a") in {"trigger", "ttach"}}

    assert ours == {"run_id", *_ASYNC_NAMES, *_ASYNC_NAMES.values()}
