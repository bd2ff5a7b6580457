"""Flows that hold secrets while they use all we offer, and one that lets secrets out.

The secret comes from a block of Prefect's whose name gives nothing away, as plain text: nothing
but us keeps it from being shown.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.events import emit_event

from empirical_provider.exceptions import GateClosedError, TriggerOutcomeUnknownError
from empirical_provider.prefect import (
    EmpiricalCredentials,
    EmpiricalTestJob,
    durable,
    run_tests,
    trigger_test_run,
)

# The local Empirical lists a run at once: a minute of waiting would prove nothing more.
durable.GRACE = 2.0

KINDS = ("trigger", "task", "job")


def _call(kind: str, credentials: str, environment: str, job: str) -> Any:
    """Start a run by one of the three, with the secret in its environment; wait where it does."""
    secret: Any = Secret.load("flavour")
    given: dict[str, Any] = {
        "environment": environment,
        "environment_variables_overrides": {"FLAVOUR": secret.get()},
        # By the key a lost response would be made good, and there would be no error to search.
        "key_in_environment": environment != "lost",
    }
    if kind == "job":
        block: Any = EmpiricalTestJob.load(job)
        run = block.trigger(**given)
        run.wait_for_completion()
        return run  # the handle itself: what of it is pickled?
    arguments = {"credentials": EmpiricalCredentials.load(credentials), **given}
    if kind == "trigger":
        return trigger_test_run(**arguments)
    return run_tests(**arguments, poll_interval=0.2)


def _use(credentials: str, environment: str, job: str, *, handles: bool) -> list[Any]:
    """Use all three; the error of the last one ends the flow."""
    results = []
    for kind in KINDS:
        try:
            result = _call(kind, credentials, environment, job)
        except (GateClosedError, TriggerOutcomeUnknownError):
            if kind == KINDS[-1]:
                raise
        else:
            results.append(result if handles or kind != "job" else result.fetch_result())
    return results


@flow(name="secretive-json", persist_result=True, result_serializer="json")
def secretive_json(credentials: str, environment: str, job: str) -> list[Any]:
    """Persist all results as JSON."""
    return _use(credentials, environment, job, handles=False)


@flow(name="secretive-pickle", persist_result=True, result_serializer="pickle")
def secretive_pickle(credentials: str, environment: str, job: str) -> list[Any]:
    """Persist all results pickled."""
    return _use(credentials, environment, job, handles=True)


@task(persist_result=True, result_serializer="pickle")
def _returned(secret: str) -> dict[str, str]:
    return {"it is": secret}


@flow(name="leaky")
def leaky(secret: str) -> None:
    """Let a secret out at each place, a little different at each."""
    block: Any = Secret.load(secret)
    value = block.get()
    get_run_logger().warning("It is %s-logged", value)
    create_markdown_artifact(f"It is {value}-shown", key="leak")
    emit_event("leak", resource={"prefect.resource.id": "leak"}, payload={"it": f"{value}-emitted"})
    _returned(f"{value}-returned")
    raise RuntimeError(f"It is {value}-raised")
