"""The names that users import: pinned, lazy, and importable with nothing but httpx."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import empirical_provider
from empirical_provider import (
    Build,
    InvalidRequestError,
    TestResult,
    TestRun,
    TestRunRequest,
    TestRunState,
    TriggerOutcomeUnknownError,
    emulator,
    exceptions,
    models,
)

PUBLIC = [
    "TriggerOnce",
    "wait_for_test_run",
    "await_for_test_run",
    "Verdict",
    "VerdictDict",
    "WebhookEvent",
    "WebhookRefusedError",
    "Counts",
    "CountsDict",
    "Outcome",
    "GatePolicy",
    "Decision",
    "WaitTimedOutError",
    "WrongCommitError",
    "TestsFailedError",
    "RunSupersededError",
    "RunErroredError",
    "RunCancelledError",
    "NoTestsError",
    "RunIncompleteError",
    "GateClosedError",
    "AlreadyFinishedError",
    "AsyncEmpiricalClient",
    "AuthenticationError",
    "BillingError",
    "Build",
    "Concurrency",
    "EmpiricalClient",
    "EmpiricalError",
    "Environment",
    "EnvironmentVariable",
    "InvalidRequestError",
    "NoAnswerError",
    "NotFoundError",
    "NotSentError",
    "PreflightReport",
    "Project",
    "RateLimitedError",
    "ReportNotWrittenError",
    "RunReport",
    "ServerError",
    "TestResult",
    "TestRun",
    "TestRunRequest",
    "TestRunState",
    "Timeouts",
    "TriggerOutcomeUnknownError",
    "TriggerRejectedError",
    "UnreadableAnswerError",
    "__version__",
    "apreflight",
    "atrigger_test_run",
    "preflight",
    "read_webhook",
    "run_report",
    "write_report",
    "trigger_test_run",
]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_are_these() -> None:
    """A name that is added or taken away changes this test, so it is done on purpose."""
    assert sorted(empirical_provider.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(empirical_provider))


def test_the_typed_user_code_uses_every_public_name() -> None:
    """`make types` checks a use of each name, by mypy and by pyright."""
    code = (Path(__file__).parents[1] / "typing" / "user_code_core.py").read_text("utf-8")
    assert {*PUBLIC, *emulator.__all__} <= set(re.findall(r"\w+", code))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_loads(name: str) -> None:
    """Each name can be had from the top of the package."""
    assert getattr(empirical_provider, name) is not None


def test_the_listed_homes_are_the_real_ones() -> None:
    """Each lazily loaded name is public in the module it is loaded from."""
    for name, home in empirical_provider._HOME_OF.items():
        assert name in importlib.import_module(f"empirical_provider.{home}").__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails the way Python's own modules do."""
    with pytest.raises(AttributeError, match="has no attribute 'TestRunn'"):
        empirical_provider.TestRunn  # noqa: B018


def test_importing_the_package_loads_no_http_client() -> None:
    """A host that only parses files pays for neither httpx nor the core."""
    code = "import sys, empirical_provider; print([m for m in sys.modules if 'httpx' in m])"
    assert run_python(code).strip() == "[]"


def needs(package: str, seen: set[str]) -> set[str]:
    """Return a package's own name and those of all that it needs here."""
    if package not in seen:
        seen.add(package)
        for requirement in map(Requirement, requires(package) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needs(requirement.name, seen)
    return seen


def test_the_core_imports_with_httpx_alone() -> None:
    """Every core name loads where only httpx and what it needs can be imported at all."""
    allowed = sorted({*needs("httpx", set()), "typing_extensions", "empirical_provider"})
    code = f"""
import importlib, sys
allowed = {allowed!r}

class OnlyHttpx:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, OnlyHttpx())
import empirical_provider
for name in empirical_provider.__all__:
    getattr(empirical_provider, name)
for host in ("starlette", "airflow", "prefect"):
    assert host not in sys.modules
try:
    importlib.import_module("starlette")
except ModuleNotFoundError:
    print("fine")
"""
    assert run_python(code).strip() == "fine"


def test_pytest_collects_none_of_our_classes() -> None:
    """A user's suite that imports our names does not collect those that start with Test."""
    for cls in (TestRun, TestRunRequest, TestRunState, TestResult):
        assert cls.__test__ is False
    assert not [name for name in dir(Build) if name.startswith("test")]


def test_every_error_hangs_in_the_tree_and_in_its_drawing() -> None:
    """The drawing at the top of the errors' module names every error, and no other."""
    drawn = {word for word in (exceptions.__doc__ or "").split() if word.endswith("Error") and word}
    assert set(exceptions.__all__) <= drawn
    for name in exceptions.__all__:
        assert issubclass(getattr(exceptions, name), exceptions.EmpiricalError)
    assert issubclass(InvalidRequestError, ValueError)
    assert not TriggerOutcomeUnknownError.may_pass


def test_the_models_are_frozen_and_slotted() -> None:
    """What comes back from the service cannot be changed by accident, not even by a new field."""
    run = models.TestRun(id=1, state=TestRunState.QUEUED)
    with pytest.raises((AttributeError, TypeError)):
        run.colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        run.id = 2  # type: ignore[misc]
