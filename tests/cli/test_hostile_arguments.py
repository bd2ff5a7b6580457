"""Hostile arguments of the command, and hostile words of the service, in process."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from empirical_provider.cli.exit_codes import ExitCode
from empirical_provider.cli.main import main
from empirical_provider.client import EmpiricalClient
from empirical_provider.models import TestRunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from empirical_provider.emulator import Emulator


@pytest.fixture
def command(empirical: Emulator, api_key: str) -> Callable[..., Result]:
    environment = {"EMPIRICALRUN_KEY": api_key, "EMPIRICAL_BASE_URL": empirical.url}

    def run(*arguments: str) -> Result:
        # Before 8.2, click has to be told to keep the two apart.
        apart = {"mix_stderr": False} if version("click") < "8.2" else {}
        return CliRunner(env=environment, **apart).invoke(main, arguments)

    return run


@pytest.mark.parametrize(
    "given",
    [
        "",
        "None",
        "456/../1",
        " 456",
        "४५६",
        "4_5",
        "+5",
        "0456",
        "456\n",
        "1.0",
        "9" * 30,
        "9" * 5000,
    ],
    ids=range(12),
)
@pytest.mark.parametrize("name", ["wait", "cancel", "rerun"])
def test_a_run_id_is_read_strictly(
    name: str, given: str, command: Callable[..., Result], empirical: Emulator
) -> None:
    """What is not exactly the digits of an id is a wrong use, and nothing is sent."""
    done = command(name, given)
    assert done.exit_code == ExitCode.USAGE
    assert "test_run_id must be the id of a test run" in done.stderr
    assert empirical.requests == []


@pytest.mark.parametrize("policy", ["min_tests=४", "min_tests=" + "9" * 5000, "max_flaky=1_0"])
def test_a_number_of_the_policy_is_read_strictly(
    policy: str, command: Callable[..., Result], empirical: Emulator
) -> None:
    """A number of the policy is ASCII digits; all else is refused by the field's name."""
    done = command("run", "--environment", "staging", "--policy", policy)
    assert done.exit_code == ExitCode.USAGE
    assert f"policy.{policy.partition('=')[0]} must be an integer" in done.stderr
    assert empirical.requests == []


def test_a_bundle_that_is_none_is_a_wrong_use(
    command: Callable[..., Result], empirical: Emulator, tmp_path: Path
) -> None:
    """The option --ca-bundle reaches the client, which refuses what is no file of certificates."""
    done = command("list", "--ca-bundle", str(tmp_path / "missing.pem"))
    assert done.exit_code == ExitCode.USAGE
    assert "--ca-bundle must be the path of a PEM file" in done.stderr
    assert empirical.requests == []


def test_words_of_the_service_are_no_markup(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that the service makes up can neither end a wait with a crash nor make a link."""
    forged = "started[/nonsense][link=javascript:alert(1)]x"
    real = EmpiricalClient.get_test_run
    looks: list[str] = []

    def get(self: EmpiricalClient, run_id: int, **options: Any) -> Any:
        run = real(self, run_id, **options)
        looks.append(str(run.state))
        return run if len(looks) > 1 else replace(run, state=TestRunState(forged))

    monkeypatch.setattr(EmpiricalClient, "get_test_run", get)
    done = command("run", "--environment", "staging", "--poll-interval", "0.01", "--json")
    assert done.exit_code == ExitCode.GREEN, done
    assert json.loads(done.stdout)["outcome"] == "passed"
    assert len(looks) > 1
