"""A real process worker runs the ready flow: the outcomes, a person's cancel, and an outage.

All flow runs are started at once; each test waits for its own and looks at what became of it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from uuid import UUID

import pytest

from empirical_provider.emulator import Emulator
from empirical_provider.prefect import EmpiricalCredentials, run_empirical_tests
from tests.prefect.worker import Worker, until

# Prefect 3.6 does not install a module that its worker needs.
pytest.importorskip("prefect.workers.process", exc_type=ModuleNotFoundError)

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(400)]

READY = "empirical_provider.prefect.flows.run_empirical_tests"
KEY = "emp-key-8d3b1f60c2"
OUTAGE = 60.0
CLOSED = 25.0
"""Seconds of the outage during which nothing listens; then there are 503s."""

SUBMITTING = """
from prefect import flow
from empirical_provider.prefect import (
    EmpiricalCredentials, cancel_test_runs_on_cancellation, run_tests
)

@flow(on_cancellation=[cancel_test_runs_on_cancellation])
def submitting(credentials: str, environment: str, poll_interval: float):
    return run_tests.submit(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        poll_interval=poll_interval,
    ).result()
"""

OUTCOMES = {
    # outcome: parameters, final state, words of its message
    "passed": ({}, "Completed", "passed: "),
    "failed": ({}, "Failed", "failed: 1 of 5 failed."),
    "error": ({}, "Failed", "ended in error: it has no usable result (run_failed_with_error)."),
    "cancelled": ({}, "Failed", "was cancelled: "),
    "superseded": ({"policy": {"superseded": "skip"}}, "Completed", "was superseded: "),
    "no_tests": ({}, "Failed", "ran too few tests: 0 ran, and at least 1 must."),
    "timed_out": ({"timeout": 1.0}, "Failed", "was not waited for any longer: it is started"),
}


@pytest.fixture(scope="module")
def calm() -> Iterator[Emulator]:
    """Return a local Empirical that answers well; runs in its environments end as they say."""
    environments = {name: name for name in OUTCOMES if name != "timed_out"}
    environments |= {"timed_out": "stuck", "called": "stuck", "submitted": "stuck"}
    with Emulator(api_keys=[KEY], environments=environments) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def stormy() -> Iterator[Emulator]:
    """Return a local Empirical that can go away and come back at its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Emulator(port=port, api_keys=[KEY], environments={"storm": "stuck"}) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Return a running worker."""
    with Worker(tmp_path_factory.mktemp("worker")) as worker:
        (worker.code / "submitting.py").write_text(SUBMITTING)
        yield worker


@pytest.fixture(scope="module")
def flow_runs(worker: Worker, calm: Emulator, stormy: Emulator) -> dict[str, UUID]:
    """Start every flow run, those that take longest first."""
    for name, emulator in (("calm", calm), ("stormy", stormy)):
        block = EmpiricalCredentials(api_key=KEY, base_url=emulator.url)
        block.save(f"of-the-worker-{name}", overwrite=True)

    def start(entrypoint: str, environment: str, poll_interval: float, **more: object) -> UUID:
        weather = "stormy" if environment == "storm" else "calm"
        return worker.start(
            entrypoint,
            run_empirical_tests.name if entrypoint == READY else "submitting",
            environment,
            credentials=f"of-the-worker-{weather}",
            environment=environment,
            poll_interval=poll_interval,
            **more,
        )

    return {
        "storm": start(READY, "storm", 1.0),
        "submitted": start("submitting.py:submitting", "submitted", 0.2),
        "called": start(READY, "called", 0.2),
        **{name: start(READY, name, 0.2, **row[0]) for name, row in OUTCOMES.items()},
    }


def _run_in(emulator: Emulator, environment: str) -> int:
    (run,) = [each for each in emulator.runs if each.environment == environment]
    return run.id


def _looks(emulator: Emulator) -> int:
    return [each.endpoint for each in emulator.requests].count("get_test_run")


def test_a_persons_cancel_cancels_the_run(
    worker: Worker, flow_runs: dict[str, UUID], calm: Emulator
) -> None:
    """What the UI sends ends flow run and test run, with one request, also for a submitted wait.

    No signal reaches the thread of the latter: the hook cancels its run once Prefect has killed the
    process, half a minute later.
    """
    for name in ("called", "submitted"):
        until(f"{name} waits", lambda name=name: "started" in _states(calm, name))
        worker.cancel(flow_runs[name])

    for name in ("called", "submitted"):
        assert worker.ended(flow_runs[name]).name == "Cancelled"
        assert _states(calm, name) <= {"cancelling", "cancelled"}
        path = f"/api/test-runs/{_run_in(calm, name)}/cancel"
        assert [each.path for each in calm.requests].count(path) == 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_outcome_is_on_the_server(
    outcome: str, worker: Worker, flow_runs: dict[str, UUID], calm: Emulator
) -> None:
    """The final state names the run and what became of it, and a page and the progress show it."""
    _, name, words = OUTCOMES[outcome]

    state = worker.ended(flow_runs[outcome])

    run = f"Empirical test run {_run_in(calm, outcome)} in {outcome} "
    assert state.name == name
    assert f"{run}{words}" in state.message
    if name == "Completed":
        assert state.result()["outcome"] == outcome
    page = worker.artifact(flow_runs[outcome], "empirical-verdict")
    assert f"| outcome | {outcome.replace('_', '&#95;')} |" in page.data
    progress = worker.artifact(flow_runs[outcome], "empirical-progress")
    assert progress.data == (50 if outcome == "timed_out" else 100)


def test_an_outage_of_a_minute_is_survived(
    worker: Worker, flow_runs: dict[str, UUID], stormy: Emulator
) -> None:
    """A closed port, 503s and then broken JSON do not end a wait: it passes, and tells of each."""
    flow_run = flow_runs["storm"]
    until("it waits", lambda: stormy.runs and stormy.runs[0].state == "started")
    began = time.monotonic()
    stormy.stop()
    stormy.fault("get_test_run", "status", status=503, times=None)
    until("the port was closed for a while", lambda: time.monotonic() - began > CLOSED)
    assert worker.state(flow_run).name == "Running"
    seen = _looks(stormy)
    stormy.start()
    until("a minute is over", lambda: time.monotonic() - began > OUTAGE)
    assert worker.state(flow_run).name == "Running"
    assert _looks(stormy) - seen > (OUTAGE - CLOSED) / 3
    stormy.clear_faults()
    stormy.fault("get_test_run", "malformed", times=2)
    stormy.set_state(_run_in(stormy, "storm"), "ended")

    state = worker.ended(flow_run)

    assert (state.name, state.result()["outcome"]) == ("Completed", "passed")
    assert state.result()["elapsed_seconds"] > OUTAGE
    assert len(stormy.runs) == 1
    until("the log is complete", lambda: "The gate says pass." in worker.log(flow_run))
    told = worker.log(flow_run)
    for word in ("could not connect", "503", "JSON", "can be read again", "is ended after"):
        assert word in told
    assert KEY not in told


def _states(emulator: Emulator, environment: str) -> set[str]:
    return {each.state for each in emulator.runs if each.environment == environment}
