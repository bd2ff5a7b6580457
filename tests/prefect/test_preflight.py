"""The preflight task: what it checks, and that nothing is deployed where it fails."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from empirical_provider import AuthenticationError, Build, InvalidRequestError
from empirical_provider.prefect import apreflight, preflight

if TYPE_CHECKING:
    from conftest import Twin

    from empirical_provider.emulator import Emulator
    from empirical_provider.prefect import EmpiricalCredentials

EXAMPLE = Path(__file__).parents[2] / "flows_examples" / "preflight.py"


def test_the_twins_are_alike() -> None:
    """Both take the same, and are retried and cached by the same rules."""
    assert inspect.signature(preflight.fn) == inspect.signature(apreflight.fn)
    for name in ("name", "description", "cache_policy", "retry_condition_fn"):
        assert getattr(preflight, name) == getattr(apreflight, name)


def test_it_returns_what_was_found(
    looking: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """The environment is handed on as plain data, with what could not be checked."""
    found = looking.without_prefect(
        credentials=credentials, environment="staging", branch="main", tags=["@smoke"]
    )
    assert (found["environment"]["slug"], found["unchecked"]) == ("staging", ["branch"])
    assert empirical.runs == []


@pytest.mark.parametrize("endpoint", ["list_environments", "list_test_cases"])
def test_a_dead_key_is_found(
    endpoint: str, looking: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A key that is not accepted fails the task."""
    empirical.fault(endpoint, "status", status=401)
    with pytest.raises(AuthenticationError):
        looking.without_prefect(credentials=credentials, environment="staging", tags=["@smoke"])


def test_a_build_on_a_branch_leaves_its_tests_unchecked(
    looking: Twin, credentials: EmpiricalCredentials
) -> None:
    """A tag that only the branch of the build may have is no error, and is told to be unchecked."""
    call: dict[str, Any] = {
        "credentials": credentials,
        "environment": "staging",
        "tags": ["@no-such"],
    }
    with pytest.raises(InvalidRequestError, match="tags has '@no-such', which no test has"):
        looking.without_prefect(**call, build={"version": "1.0.0"})

    found = looking.without_prefect(**call, build=Build(branch="feature"))
    assert found["unchecked"] == ["tags"]


def test_a_bad_build_is_rejected_before_any_request(
    looking: Twin, credentials: EmpiricalCredentials, empirical: Emulator
) -> None:
    """A field that a build does not have is named."""
    with pytest.raises(InvalidRequestError, match=r"Did you mean 'branch'\?"):
        looking.without_prefect(
            credentials=credentials, environment="staging", build={"brnach": "feature"}
        )
    assert empirical.requests == []


@pytest.fixture
def example(credentials: EmpiricalCredentials) -> Any:
    """Return the flow of the example, and save the block that it loads."""
    credentials.save("prod", overwrite=True)
    return runpy.run_path(str(EXAMPLE))["preflight_then_release"]


def test_nothing_is_deployed_to_an_unknown_environment(example: Any, empirical: Emulator) -> None:
    """In the example a misspelt environment fails before the release, and nothing is triggered."""
    state = example(environment="stagging", return_state=True)
    assert state.is_failed()
    with pytest.raises(InvalidRequestError, match=r"Did you mean 'staging'\?"):
        state.result()
    assert [each.endpoint for each in empirical.requests] == [
        "list_environments",
        "list_test_cases",  # with "@", and as the service lists it
        "list_test_cases",
    ]


def test_what_can_be_tested_is_released(example: Any, empirical: Emulator) -> None:
    """In the example a known environment passes, and the tests follow the release."""
    assert "passed" in example(poll_interval=0.05)
    (run,) = empirical.runs
    assert (run.environment, run.body["tags"]) == ("staging", ["@smoke"])
