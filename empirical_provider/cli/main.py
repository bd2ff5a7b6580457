"""The commands of ``empirical-provider``; the exit status says how it ended (see `exit_codes`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import Any, NoReturn

import click

import empirical_provider
from empirical_provider.cli.console import Shown
from empirical_provider.cli.exit_codes import (
    ExitCode,
    exit_code_of_error,
    exit_code_of_verdict,
    table,
)
from empirical_provider.cli.interrupting import Interruptions
from empirical_provider.cli.options import (
    Command,
    connection,
    in_options,
    options,
    request_of,
    requesting,
    run_id,
    waiting,
    waiting_of,
)
from empirical_provider.cli.progress import Progress
from empirical_provider.client import EmpiricalClient
from empirical_provider.exceptions import EmpiricalError, ReportNotWrittenError
from empirical_provider.models import TestRun, TestRunState
from empirical_provider.policy import Outcome
from empirical_provider.preflighting import preflight
from empirical_provider.reporting import reporting
from empirical_provider.reports import RunReport, check_writable, write_report
from empirical_provider.trigger import trigger_test_run
from empirical_provider.verdict import Verdict
from empirical_provider.wait import wait_for_test_run

__all__ = ["main"]

_SETTINGS = ("base_url", "project_id", "project_slug", "retry_for", "ca_bundle")
_RUN_ID = click.argument("test_run_id", callback=run_id)
_JUNIT = click.option(
    "--junit",
    metavar="FILE",
    help="Write the tests as JUnit XML to this file or URL of fsspec, also when red; as JSON if "
    "it ends in .json.",
)
_DETACH = click.option("--detach", is_flag=True, help="Never cancel the run, also not on Ctrl-C.")
_KEY = options(
    click.option("--key", help="What the run is for, such as a release id: one run for all."),
    click.option(
        "--key-in-environment/--no-key-in-environment",
        default=None,
        help="Whether the key travels with the tests, too; by default it does.",
    ),
)


@click.group(
    epilog="The API key is read from EMPIRICALRUN_KEY. Exit statuses: "
    + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(empirical_provider.__version__, prog_name="empirical-provider")
def main() -> None:
    """Gate a release on end-to-end tests that run on Empirical."""


def _command(*decorators: Callable[[Any], Any]) -> Callable[[Callable[..., ExitCode]], Any]:
    """Make a command of a function that takes a client, what to show it by, and its options."""

    def decorate(function: Callable[..., ExitCode]) -> Any:
        @main.command(function.__name__.strip("_"), help=function.__doc__, cls=Command)
        @options(*decorators, connection)
        def command(**given: Any) -> NoReturn:
            shown = Shown(as_json=given.pop("as_json"))
            settings = {n: given.pop(n) for n in _SETTINGS}
            try:
                with EmpiricalClient(**settings) as client:
                    code = function(client, shown, **given)
            except EmpiricalError as error:
                code = exit_code_of_error(error)
                message = in_options(str(error)) if code == ExitCode.USAGE else str(error)
                told = {"error": type(error).__name__, "message": message, "exit_status": code}
                data = {**told, "test_run_id": error.run_id, "url": error.run_url}
                if shown.as_json:
                    shown.result("", data)
                shown.tell(f"Error: {message}")
            except KeyboardInterrupt:
                code = ExitCode.LEFT
                shown.tell("Left as it is.")
            sys.exit(code)

        return command

    return decorate


@_command(requesting)
def check(client: EmpiricalClient, shown: Shown, **given: Any) -> ExitCode:
    """Find what would keep a test run from starting; nothing is started."""
    report = preflight(client, request_of(given))
    shown.result(report.summary, report.as_dict())
    return ExitCode.GREEN


@_command(requesting, _KEY)
def trigger(client: EmpiricalClient, shown: Shown, **given: Any) -> ExitCode:
    """Start a test run, and do not wait for it."""
    request = request_of(given)
    shown.run(trigger_test_run(client, request, **given))
    return ExitCode.GREEN


@_command(_RUN_ID, waiting, _JUNIT)
def wait(
    client: EmpiricalClient, shown: Shown, test_run_id: int, junit: str | None, **given: Any
) -> ExitCode:
    """Wait for a test run, and judge it. Ctrl-C leaves the run as it is."""
    how = waiting_of(given)
    if junit is not None:
        check_writable(junit, field="--junit")
    watch = Interruptions(client, shown.tell, cancels=False)
    with watch.taken():
        return _judged(client, shown, watch, test_run_id, how, junit=junit)


@_command(requesting, _KEY, waiting, _DETACH, _JUNIT)
def run(
    client: EmpiricalClient, shown: Shown, *, detach: bool, junit: str | None, **given: Any
) -> ExitCode:
    """Start a test run, wait for it, and judge it.

    Ctrl-C cancels the run, a second one leaves it; with --detach or a --key, which others may
    share, the first one leaves it.
    """
    request = request_of(given)
    how = waiting_of(given, request)
    if junit is not None:
        check_writable(junit, field="--junit")
    watch = Interruptions(client, shown.tell, cancels=not detach and given["key"] is None)

    def started(test_run: TestRun) -> None:
        watch.run_id = test_run.id
        watch.cancel_if_asked()

    with watch.taken():
        test_run = trigger_test_run(client, request, on_started=started, **given)
        shown.tell(f"Test run {test_run.id}: {test_run.url or '(its page is not known)'}")
        return _judged(client, shown, watch, test_run.id, how, junit=junit)


@_command(_RUN_ID, click.option("--reason", help="Recorded with the run."))
def cancel(client: EmpiricalClient, shown: Shown, test_run_id: int, reason: str | None) -> ExitCode:
    """Cancel a test run."""
    client.cancel_test_run(test_run_id, reason=reason)
    shown.result(f"Test run {test_run_id} is being cancelled.", {"test_run_id": test_run_id})
    return ExitCode.GREEN


@_command(
    _RUN_ID,
    click.option("--only-failed/--all", default=None, help="Only the tests that failed, or all."),
    click.option("--send-notifications/--no-send-notifications", default=None),
)
def rerun(client: EmpiricalClient, shown: Shown, test_run_id: int, **given: Any) -> ExitCode:
    """Start a test run that repeats another one; it is not waited for."""
    shown.run(client.find_url(client.rerun_test_run(test_run_id, **given)))
    return ExitCode.GREEN


@_command(
    click.option("--environment-ids", type=int, multiple=True, help="May be given again."),
    click.option("--branch", help="Branch of the test repository."),
    click.option("--state", type=click.Choice([state.value for state in TestRunState])),
    click.option("--result", type=click.Choice(["passed", "failed"])),
    click.option("--interval-in-days", type=int, help="Created in the last so many days."),
    click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True),
)
def list_(client: EmpiricalClient, shown: Shown, *, limit: int, **given: Any) -> ExitCode:
    """List the newest test runs."""
    given["environment_ids"] = given["environment_ids"] or None
    runs = client.list_test_runs(**given, per_page=min(limit, 100))
    shown.runs(islice(runs, limit))
    return ExitCode.GREEN


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(arguments: tuple[str, ...]) -> NoReturn:
    """Serve a local Empirical, until Ctrl-C; --help lists its options."""
    try:
        from empirical_provider.emulator.__main__ import main as serve  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise click.ClickException(
            f'{error}. Install it with: pip install "empirical-provider[emulator]"'
        ) from error
    sys.exit(serve(arguments))


@main.command("exit-codes")
def exit_codes() -> None:
    """Print what the exit statuses mean."""
    click.echo(table())


def _judged(
    client: EmpiricalClient,
    shown: Shown,
    watch: Interruptions,
    test_run_id: int,
    how: dict[str, Any],
    *,
    junit: str | None,
) -> ExitCode:
    """Wait for a run, show its verdict, and return the status for it."""
    watch.run_id = test_run_id
    with Progress(shown, test_run_id) as progress:

        def sleep(seconds: float) -> None:
            progress.goes_on()
            watch.sleep(seconds)

        verdict = wait_for_test_run(
            client, test_run_id, on_progress=progress.saw, sleep=sleep, **how
        )
    shown.verdict(verdict)
    code = exit_code_of_verdict(verdict)
    if junit is not None:
        try:
            with reporting(verdict, junit):
                test_run = client.get_test_run(verdict.run_id)
                write_report(RunReport(run=test_run, verdict=verdict), junit)
        except ReportNotWrittenError as error:  # the gate is open
            shown.tell(f"Error: {error}")
            code = ExitCode.NO_REPORT
    if verdict.outcome == Outcome.TIMED_OUT:
        shown.tell(_resume(verdict))
    return code


def _resume(verdict: Verdict) -> str:
    return f"To go on waiting: empirical-provider wait {verdict.run_id}"
