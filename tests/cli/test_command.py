"""The installed command, against the local Empirical: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from junitparser import JUnitXml

from empirical_provider.cli.exit_codes import ExitCode, table
from empirical_provider.cli.main import main
from empirical_provider.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from empirical_provider.emulator import Emulator

COMMAND = Path(sys.executable).with_name("empirical-provider")
STAGING = ("--environment", "staging")
QUICK = ("--poll-interval", "0.05")


class Command:
    """Runs the command with a key, against the local Empirical."""

    def __init__(self, url: str, api_key: str) -> None:
        kept = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
        self.environment = {**kept, "EMPIRICALRUN_KEY": api_key, "EMPIRICAL_BASE_URL": url}

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        with self.started(*arguments) as process:
            out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def started(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *(str(each) for each in arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def command(empirical: Emulator, api_key: str) -> Command:
    return Command(empirical.url, api_key)


@pytest.mark.parametrize(
    ("outcome", "policy", "code"),
    [
        ("passed", (), ExitCode.GREEN),
        ("flaky", ("max_flaky=0",), ExitCode.RED),
        ("passed", ("passed=fail",), ExitCode.RED),
        ("failed", (), ExitCode.RED),
        ("failed", ("failed=pass",), ExitCode.GREEN),
        ("failed", ("failed=skip",), ExitCode.RED),
        ("snoozed", ("count_snoozed_failures=true",), ExitCode.RED),
        ("error", (), ExitCode.ERROR_RUN),
        ("rejected", (), ExitCode.ERROR_RUN),
        ("cancelled", (), ExitCode.CANCELLED),
        ("superseded", ("superseded=skip",), ExitCode.CANCELLED),
        ("no_tests", (), ExitCode.NO_TESTS),
        ("incomplete", (), ExitCode.INCOMPLETE),
        ("incomplete", ("incomplete=skip",), ExitCode.INCOMPLETE),
        ("incomplete", ("incomplete=pass",), ExitCode.GREEN),
        ("passed", ("min_tests=9",), ExitCode.NO_TESTS),
    ],
)
def test_the_status_tells_how_the_run_came_out(
    outcome: str, policy: tuple[str, ...], code: ExitCode, command: Command, empirical: Emulator
) -> None:
    """Each verdict has its status, and the policy decides what is green."""
    empirical.script("staging", outcome)
    words = [word for each in policy for word in ("--policy", each)]
    done = command("run", *STAGING, *QUICK, *words)
    assert done.returncode == code, done
    assert len(empirical.runs) == 1


def test_another_commit_is_not_green(command: Command, empirical: Emulator) -> None:
    """A run that has tested another commit than the build's, or than is told, has its status."""
    empirical.script("staging", "passed", commit="abcdef1")
    done = command("run", *STAGING, *QUICK, "--build-commit", "1234567")
    assert done.returncode == ExitCode.WRONG_COMMIT
    assert "has tested another commit: abcdef1, and not 1234567." in done.stdout
    [run] = empirical.runs
    for commit, code in (("7654321", ExitCode.WRONG_COMMIT), ("abcdef1", ExitCode.GREEN)):
        done = command("wait", run.id, *QUICK, "--expect-commit", commit)
        assert done.returncode == code, done
    assert command("wait", run.id, "--expect-commit", "").returncode == ExitCode.USAGE


def test_red_names_the_failed_tests_and_the_page(command: Command, empirical: Emulator) -> None:
    """What a person needs stands on stdout: the run, its page and the tests that failed."""
    empirical.script("staging", "failed", total=5, failed=2)
    done = command("run", *STAGING, *QUICK)
    [run] = empirical.runs
    first, *failed = done.stdout.splitlines()
    assert first.startswith(f"Empirical test run {run.id} in staging failed: 2 of 5 failed.")
    assert first.endswith(f"{empirical.url}/acme/test-runs/{run.id}")
    assert [line.startswith("  failed: ") for line in failed] == [True, True]


def test_the_junit_report_is_written_also_when_red(
    command: Command, empirical: Emulator, tmp_path: Path
) -> None:
    """Other tools get the tests of a red run, and a wrong path is refused before anything runs."""
    empirical.script("staging", "failed", total=5, failed=2)
    done = command("run", *STAGING, *QUICK, "--junit", tmp_path / "junit.xml")
    assert done.returncode == ExitCode.RED
    suites = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors) == (5, 2, 0)
    for path in (tmp_path / "missing" / "junit.xml", "nope://bucket/junit.xml"):
        done = command("run", *STAGING, "--junit", path)
        assert done.returncode == ExitCode.USAGE
        assert "--junit: " in done.stderr
    assert len(empirical.runs) == 1


def test_the_report_may_go_to_a_url(command: Command, empirical: Emulator, tmp_path: Path) -> None:
    """A URL reaches the filesystem that it names, in JSON if it says so."""
    empirical.script("staging", "passed", total=5)
    url = f"file://{tmp_path}/report.json"
    for path in (url, "memory://ci/junit.xml"):
        done = command("run", *STAGING, *QUICK, "--junit", path)
        assert (done.returncode, "no report" in done.stderr) == (ExitCode.GREEN, False)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["verdict"]["counts"]["total"] == 5


@pytest.mark.parametrize(
    ("outcome", "code"), [("passed", ExitCode.NO_REPORT), ("failed", ExitCode.RED)]
)
def test_a_report_that_cannot_be_written_makes_nothing_green(
    outcome: str, code: ExitCode, command: Command, empirical: Emulator, tmp_path: Path
) -> None:
    """Green tests without the report have a status of their own; red ones keep theirs."""
    empirical.script("staging", outcome)
    done = command("run", *STAGING, *QUICK, "--json", "--junit", tmp_path / ("x" * 300))
    assert done.returncode == code
    assert json.loads(done.stdout)["outcome"] == outcome
    assert "There is no report on it" in done.stderr
    assert "File name too long" in done.stderr


def test_a_time_out_says_how_to_go_on(command: Command, empirical: Emulator) -> None:
    """Who stops waiting is told the command that goes on, and the run is left alone."""
    empirical.script("staging", "stuck")
    done = command("run", *STAGING, *QUICK, "--timeout", "0.3")
    [run] = empirical.runs
    assert done.returncode == ExitCode.TIMED_OUT
    assert f"To go on waiting: empirical-provider wait {run.id}" in done.stderr
    assert run.state == "started"
    empirical.set_state(run.id, "ended")
    assert command("wait", run.id, *QUICK).returncode == ExitCode.GREEN


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("run",), ExitCode.USAGE, "Missing option '--environment'"),
        (("run", *STAGING, "--polcy", "x"), ExitCode.USAGE, "No such option"),
        (("run", *STAGING, "--policy", "failed"), ExitCode.USAGE, "policy must be NAME=VALUE"),
        (("run", *STAGING, "--policy", "faild=pass"), ExitCode.USAGE, "Did you mean 'failed'"),
        (("run", *STAGING, "--timeout", "-1"), ExitCode.USAGE, "timeout must be"),
        (("run", *STAGING, "--total-shards", "0"), ExitCode.USAGE, "--total-shards must be at"),
        (("run", *STAGING, "--build-url", "shop"), ExitCode.USAGE, "--build-url must be an http"),
        (("run", *STAGING, "--key", ""), ExitCode.USAGE, "--key must be a non-empty string"),
        (("run", *STAGING, "--concurrency-group", " "), ExitCode.USAGE, "--concurrency-group must"),
        (
            ("run", *STAGING, "--concurrency-on-conflict", "fail"),
            ExitCode.USAGE,
            "'fail' is not one of 'cancel', 'wait'",
        ),
        (("trigger", *STAGING, "--metadata", "x"), ExitCode.USAGE, "metadata must be NAME=VALUE"),
        (
            ("trigger", *STAGING, "--environment-variables-overrides", "NOT_HERE"),
            ExitCode.USAGE,
            "--environment-variables-overrides: number 1 is no NAME=VALUE",
        ),
        (("check", "--environment", "stagin"), ExitCode.USAGE, "Did you mean 'staging'?"),
        (("wait", "0"), ExitCode.USAGE, "0"),
    ],
)
def test_wrong_usage_starts_nothing(
    arguments: tuple[str, ...],
    code: ExitCode,
    told: str,
    command: Command,
    empirical: Emulator,
) -> None:
    """A wrong option or name is told, and no run was started."""
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert empirical.runs == []


@pytest.mark.parametrize(
    "words",
    [
        ("--environment-variables-overrides", "hush-5d1e"),
        ("--environment-variables-overrides", "TOKEN", "hush-5d1e"),
        ("--environment-variables-overrides", "A=1", "hush-5d1e", "more"),
        ("--tags", "@smoke", "hush-5d1e"),
    ],
)
def test_a_value_without_a_name_is_not_shown(
    words: tuple[str, ...], command: Command, empirical: Emulator
) -> None:
    """What may be a secret in the wrong place is not repeated into a log."""
    command.environment["TOKEN"] = "known"  # a variable of the process
    done = command("trigger", *STAGING, *words)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "hush-5d1e" not in done.stderr
    assert "may be a secret" in done.stderr
    assert empirical.runs == []


def test_an_empty_key_is_told_with_its_reason(command: Command, empirical: Emulator) -> None:
    """A CI job whose secret does not exist gets an empty variable, which is not a wrong key."""
    command.environment["EMPIRICALRUN_KEY"] = ""
    done = command("run", *STAGING)
    assert done.returncode == ExitCode.USAGE
    assert "EMPIRICALRUN_KEY is set and empty" in done.stderr
    assert empirical.requests == []


def test_a_rejected_run_is_told_in_the_services_words(
    command: Command, empirical: Emulator
) -> None:
    """What the service says is quoted, and never the JSON that it says it in."""
    empirical.script("staging", "rejected")
    done = command("trigger", *STAGING)
    assert done.returncode == ExitCode.ERROR_RUN
    assert "The run was not started" in done.stderr
    assert "{" not in done.stderr


def test_a_log_tells_how_the_wait_goes_on(
    empirical: Emulator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal each state has a line on stderr, and one comes each minute in which
    nothing changes: here, each moment."""
    monkeypatch.setattr(Progress, "every", 0.05)
    monkeypatch.setenv("EMPIRICALRUN_KEY", api_key)
    monkeypatch.setenv("EMPIRICAL_BASE_URL", empirical.url)
    empirical.script("staging", "stuck")
    run = ("run", *STAGING, "--poll-interval", "0.1", "--timeout", "3")
    # Before 8.2, click has to be told to keep stdout and stderr apart.
    apart: dict[str, Any] = {"mix_stderr": False} if version("click") < "8.2" else {}
    done = CliRunner(**apart).invoke(main, run)
    assert done.exit_code == ExitCode.TIMED_OUT
    lines = done.stderr.splitlines()
    states = [line for line in lines if line.startswith("Test run 1 is ")]
    assert any(line.startswith("Test run 1 is queued after 0:0") for line in states)
    assert any(line.startswith("Test run 1 is started after 0:0") for line in states)
    assert sum(line.startswith("Test run 1 is still started after 0:0") for line in states) > 1
    assert not [line for line in done.stdout.splitlines() if "still" in line]


def test_a_list_that_is_piped_is_not_cut(command: Command, empirical: Emulator) -> None:
    """Whoever reads the list by a program gets whole addresses, however narrow the terminal is."""
    command("trigger", *STAGING)
    command.environment["COLUMNS"] = "40"
    assert f"{empirical.url}/acme/test-runs/1" in command("list").stdout


def test_a_dead_key_has_a_status_of_its_own(
    command: Command, empirical: Emulator, api_key: str
) -> None:
    """A key that is not accepted is told apart from all else."""
    empirical.revoke(api_key)
    done = command("run", *STAGING)
    assert done.returncode == ExitCode.AUTHENTICATION
    assert api_key not in done.stdout + done.stderr


def test_a_lost_answer_has_a_status_of_its_own(command: Command, empirical: Emulator) -> None:
    """Where nobody can tell whether a run was started, the command says so and sends no second."""
    empirical.fault("trigger", "drop", when="after")
    assert command("trigger", *STAGING).returncode == ExitCode.UNKNOWN
    assert len(empirical.runs) == 1


def test_no_service_has_a_status_of_its_own(
    command: Command, free_tcp_port: int, empirical: Emulator
) -> None:
    """A service that cannot be reached is told apart from red tests."""
    base = ("--base-url", f"http://127.0.0.1:{free_tcp_port}", "--retry-for", "0")
    assert command("run", *STAGING, *base).returncode == ExitCode.NETWORK
    empirical.fault("list_test_runs", "status", status=503, times=None)
    assert command("list", "--retry-for", "0").returncode == ExitCode.NETWORK


def until(seen: Callable[[], Any]) -> None:
    limit = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < limit
        time.sleep(0.02)


def cancels(empirical: Emulator) -> int:
    return [each.endpoint for each in empirical.requests].count("cancel_test_run")


def is_waited_for(empirical: Emulator) -> bool:
    return "get_test_run" in [each.endpoint for each in empirical.requests]


def test_ctrl_c_cancels_the_run_once(command: Command, empirical: Emulator) -> None:
    """The first Ctrl-C cancels the remote run, and the status is that of a cancelled one."""
    empirical.script("staging", "stuck")
    with command.started("run", *STAGING, "--poll-interval", "0.3") as process:
        until(lambda: is_waited_for(empirical))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    assert process.returncode == ExitCode.CANCELLED
    assert ([run.state for run in empirical.runs], cancels(empirical)) == (["cancelled"], 1)


def test_a_second_ctrl_c_leaves_it(command: Command, empirical: Emulator) -> None:
    """Who does not want to wait for the cancellation need not."""
    empirical.script("staging", "stuck")
    with command.started("run", *STAGING, "--poll-interval", "60") as process:
        until(lambda: is_waited_for(empirical))
        process.send_signal(signal.SIGINT)
        until(lambda: cancels(empirical))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
    assert process.returncode == ExitCode.LEFT
    assert "Left as it is." in err
    assert cancels(empirical) == 1


@pytest.mark.parametrize("option", [("--detach",), ("--key", "release 7")])
def test_ctrl_c_leaves_a_run_that_is_not_ours_alone(
    option: tuple[str, ...], command: Command, empirical: Emulator
) -> None:
    """With --detach, and with a key that others may share, no Ctrl-C cancels."""
    empirical.script("staging", "stuck")
    with command.started("run", *STAGING, *option, "--poll-interval", "60") as process:
        until(lambda: is_waited_for(empirical))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    assert process.returncode == ExitCode.LEFT
    assert ([run.state for run in empirical.runs], cancels(empirical)) == (["started"], 0)


def test_every_field_of_a_request_arrives(command: Command, empirical: Emulator) -> None:
    """Each option sets the field of its name; a secret comes from the process, not the line."""
    command.environment["TOKEN"] = "s3cret-value"
    build = {"url": "https://b.example", "branch": "b", "commit": "c0ffee", "version": "7"}
    build["commit_url"] = "https://b.example/c0ffee"
    words = [w for n, v in build.items() for w in (f"--build-{n.replace('_', '-')}", v)]
    words += ["--metadata", "ticket=A=1", "--tags", "@smoke", "--tags", "@login"]
    words += ["--environment-variables-overrides", "TOKEN", "--total-shards", "2"]
    words += ["--environment-variables-overrides", "MODE=fast", "--no-send-notifications"]
    words += ["--github-actor", "octo", "--concurrency-group", "g"]
    words += ["--concurrency-on-conflict", "wait", "--test-case-ids", "t1"]
    done = command("trigger", *STAGING, *words, "--json")
    [run] = empirical.runs
    assert json.loads(done.stdout)["id"] == run.id
    assert run.body == {
        "environment": "staging",
        "build": build,
        "metadata": {"ticket": "A=1"},
        "environment_variables_overrides": [
            {"name": "TOKEN", "value": "s3cret-value"},
            {"name": "MODE", "value": "fast"},
        ],
        "tags": ["@smoke", "@login"],
        "test_case_ids": ["t1"],
        "total_shards": 2,
        "send_notifications": False,
        "github_actor": "octo",
        "concurrency": {"group": "g", "on_conflict": "wait"},
    }
    assert "s3cret-value" not in done.stdout + done.stderr


def test_the_commit_that_is_given_has_no_link_to_another(
    command: Command, empirical: Emulator
) -> None:
    """What is given wins over what the CI system says, and takes the commit's link with it."""
    command.environment |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_SHA": "c0ffee",
        "GITHUB_REF_NAME": "main",
    }
    link = "https://github.com/acme/shop/commit/c0ffee"
    command("trigger", *STAGING, "--from-ci")
    command("trigger", *STAGING, "--from-ci", "--build-commit", "f00d")
    assert [run.body["build"] for run in empirical.runs] == [
        {"branch": "main", "commit": "c0ffee", "commit_url": link},
        {"branch": "main", "commit": "f00d"},
    ]


def test_a_key_makes_one_run(command: Command, empirical: Emulator) -> None:
    """Two jobs of one release share one run."""
    key = ("--key", "release 7", "--key-in-environment")
    first, second = (command("trigger", *STAGING, *key, "--json") for _ in range(2))
    assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]
    assert len(empirical.runs) == 1


def test_json_is_one_document_whatever_happens(command: Command, empirical: Emulator) -> None:
    """A verdict, a report, a list and an error can each be read by a program."""
    empirical.script("staging", "failed", total=5, failed=2, snoozed=1)
    verdict = json.loads(command("run", *STAGING, *QUICK, "--json").stdout)
    [run] = empirical.runs
    assert (verdict["run_id"], verdict["outcome"], verdict["counts"]["failed"]) == (
        run.id,
        "failed",
        2,
    )
    assert json.loads(command("check", *STAGING, "--json").stdout)["unchecked"] == []
    [listed] = json.loads(command("list", "--json").stdout)
    assert listed["id"] == run.id
    assert (listed["failed_count"], listed["failed_count_after_snoozing"]) == (2, 1)
    error = json.loads(command("check", "--environment", "qa", "--json").stdout)
    assert (error["error"], error["exit_status"]) == ("InvalidRequestError", ExitCode.USAGE)


def test_runs_are_listed_rerun_and_cancelled(command: Command, empirical: Emulator) -> None:
    """The other commands do what they say."""
    empirical.script("staging", "failed", total=5, failed=2)
    command("run", *STAGING, *QUICK)
    rerun = json.loads(command("rerun", "1", "--only-failed", "--json").stdout)
    assert empirical.runs[1].rerun_only_failed
    assert command("cancel", rerun["id"], "--reason", "enough").returncode == ExitCode.GREEN
    assert empirical.runs[1].cancel_reason == "enough"
    assert command("cancel", "1").returncode == ExitCode.USAGE  # it has ended
    before = len(empirical.requests)
    listed = command("list", "--limit", "1").stdout
    assert len(empirical.requests) == before + 1
    assert f"{empirical.url}/acme/test-runs/2" in listed
    assert f"{empirical.url}/acme/test-runs/1" not in listed


def test_the_emulator_is_served(command: Command) -> None:
    """The local Empirical is at hand without a look into the docs."""
    with command.started("emulator", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("The local Empirical listens on http://127.")
        process.terminate()
    assert process.returncode == 0


def test_the_table_of_the_docs_is_made_of_the_code(command: Command) -> None:
    """What the docs say about the exit statuses is what the command says."""
    docs = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    assert table() in docs
    assert command("exit-codes").stdout.strip() == table()


def test_a_run_may_stay_out_of_the_shared_queue(command: Command, empirical: Emulator) -> None:
    """That is said by null, which is not the same as saying nothing; with a group it is wrong."""
    command("trigger", *STAGING, "--no-concurrency")
    command("trigger", *STAGING)
    bodies = [run.body for run in empirical.runs]
    assert [body.get("concurrency", "project's") for body in bodies] == [None, "project's"]
    done = command("trigger", *STAGING, "--no-concurrency", "--concurrency-group", "g")
    assert done.returncode == ExitCode.USAGE
    assert "--no-concurrency cannot be given together" in done.stderr
