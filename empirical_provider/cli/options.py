"""The options, named as in the API, and what is made of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from empirical_provider import checks
from empirical_provider.cli.ci import origin
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import Decision, Outcome
from empirical_provider.request import Build, Concurrency, TestRunRequest
from empirical_provider.wait_options import WaitOptions, commit_to_expect

__all__ = [
    "Command",
    "connection",
    "in_options",
    "options",
    "request_of",
    "requesting",
    "run_id",
    "waiting",
    "waiting_of",
]

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[Any], Any]


class Command(click.Command):
    """A command that does not quote what stands where nothing is expected.

    It may be the value of an override, given apart from its name.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read the options."""
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            if not error.message.startswith("Got unexpected extra argument"):
                raise
            raise click.UsageError(
                "Got an argument that belongs to no option. It is not shown, as it may be a "
                "secret. An option that may be given again takes one value at a time, and an "
                "override is NAME=VALUE.",
                context,
            ) from None


def in_options(message: str) -> str:
    """Name the option that a message is about, where it begins with the API's field."""
    field = re.match(r"(build|concurrency)\.([a-z_]+)|([a-z_]+)", message)
    if field is None:
        return message
    option = "--" + "-".join(filter(None, field.groups())).replace("_", "-")
    known = {f"--{name.replace('_', '-')}" for name in _NAMES}
    return option + message[field.end() :] if option in known else message


def run_id(_context: click.Context, _parameter: click.Parameter, given: str) -> int:
    """Read the id of a test run as the hosts do: its digits and nothing else."""
    try:
        return checks.run_id("test_run_id", given)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from error


def options(*all_of_them: Option) -> Callable[[F], F]:
    """Put options together, in the order of the help."""

    def decorate(function: F) -> F:
        for option in reversed(all_of_them):
            function = option(function)
        return function

    return decorate


connection = options(
    click.option(
        "--base-url", metavar="URL", help="Where the API answers.  [env: EMPIRICAL_BASE_URL]"
    ),
    click.option("--project-id", type=int, help="Needed only for a key of no one project."),
    click.option("--project-slug", help="As in the dashboard's URLs; looked up by itself."),
    click.option(
        "--retry-for",
        type=float,
        default=60.0,
        show_default=True,
        help="Seconds for which a request that could not be sent is tried again.",
    ),
    click.option(
        "--ca-bundle", metavar="FILE", help="PEM file with authorities to trust, not public ones."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
)

requesting = options(
    click.option("--environment", required=True, metavar="SLUG", help="Environment to test."),
    click.option("--build-url", help="Address of the build under test."),
    click.option("--build-branch", help="Its branch."),
    click.option("--build-commit", help="Its commit."),
    click.option("--build-commit-url", help="The page of its commit."),
    click.option("--build-version", help="Its version."),
    click.option("--branch", help="Branch of the test repository; not with a build."),
    click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Shown with the run."),
    click.option(
        "--environment-variables-overrides",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Variable to override; NAME alone takes its value from this process, so that a "
        "secret stays out of the command line.",
    ),
    click.option("--tags", multiple=True, help="Only tests that match; may be given again."),
    click.option("--test-case-ids", multiple=True, help="Only these tests; may be given again."),
    click.option("--total-shards", type=int, help="Number of shards."),
    click.option(
        "--send-notifications/--no-send-notifications",
        default=None,
        help="Whether Empirical notifies.",
    ),
    click.option("--github-actor", help="GitHub login shown as who started the run."),
    click.option(
        "--no-concurrency",
        is_flag=True,
        help="Keep the run out of the project's shared queue; not with a group.",
    ),
    click.option("--concurrency-group", help="Group that takes turns."),
    click.option(
        "--concurrency-on-conflict",
        type=click.Choice(["cancel", "wait"]),
        help="What happens when the group is busy.",
    ),
    click.option(
        "--from-ci",
        is_flag=True,
        help="Take build, actor and the job's address from the CI system (GitHub Actions, GitLab, "
        "Buildkite, CircleCI, Jenkins); options win.",
    ),
)

waiting = options(
    click.option(
        "--policy",
        multiple=True,
        metavar="NAME=VALUE",
        help=f"{', '.join(Outcome)}: {', '.join(Decision)}; min_tests, max_flaky, "
        "count_snoozed_failures. May be given again.",
    ),
    click.option(
        "--poll-interval", type=float, default=10.0, show_default=True, help="Seconds of a pause."
    ),
    click.option(
        "--timeout", type=float, default=7200.0, show_default=True, help="Seconds to wait at most."
    ),
    click.option("--start-timeout", type=float, help="Seconds until the run must have started."),
    click.option(
        "--expect-commit",
        help="Commit that must have been tested; run expects that of the build, if it has one.",
    ),
)


def request_of(given: dict[str, Any]) -> TestRunRequest:
    """Make the request of the options, which are taken out of what is given.

    Raises:
        InvalidRequestError: A value is not valid; the message names the API's field.
    """
    build = {name: given.pop(f"build_{name}") for name in Build.__dataclass_fields__}
    concurrency = {name: given.pop(f"concurrency_{name}") for name in ("group", "on_conflict")}
    alone = given.pop("no_concurrency")
    if alone and _without_none(concurrency):
        raise InvalidRequestError("no_concurrency cannot be given together with a group.")
    fields = {
        name: given.pop(name)
        for name in TestRunRequest.__dataclass_fields__
        if name not in {"build", "concurrency"}
    }
    for name in ("tags", "test_case_ids"):
        fields[name] = fields[name] or None
    build = _without_none(build)
    metadata = dict(_pairs("metadata", fields["metadata"]))
    found = origin(os.environ) if given.pop("from_ci") else None
    if found is not None:
        if not fields["branch"]:
            told = {"commit_url": None} if "commit" in build else {}  # that of another one, perhaps
            build = _without_none({**found.build, **told, **build})
        metadata = {**found.metadata, **metadata}
        fields["github_actor"] = fields["github_actor"] or found.github_actor
    overrides = fields["environment_variables_overrides"]
    return TestRunRequest(
        **{
            **fields,
            "build": build or None,
            "metadata": metadata or None,
            "concurrency": False if alone else _without_none(concurrency) or None,
            "environment_variables_overrides": [
                _override(place, each) for place, each in enumerate(overrides, 1)
            ]
            or None,
        }
    )


def waiting_of(given: dict[str, Any], request: TestRunRequest | None = None) -> dict[str, Any]:
    """Take what says how to wait out of the options, checked; for a run that is requested.

    Raises:
        InvalidRequestError: A value is not valid; the message names it.
    """
    policy = dict(_pairs("policy", given.pop("policy")))
    named = {name: given.pop(name) for name in ("poll_interval", "timeout", "start_timeout")}
    given_policy = {name: _scalar(value) for name, value in policy.items()}
    commit, build = given.pop("expect_commit"), None if request is None else request.build
    expected = commit_to_expect(True if commit is None else commit, build)
    return WaitOptions(policy=given_policy, expect_commit=expected, **named).as_arguments()


def _pairs(option: str, given: Iterable[str]) -> Iterable[tuple[str, str]]:
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidRequestError(f"{option} must be NAME=VALUE, and {name!r} has no value.")
        yield name, value


def _override(place: int, given: str) -> dict[str, str]:
    name, equals, value = given.partition("=")
    if not equals:
        if name not in os.environ:
            raise InvalidRequestError(
                f"environment_variables_overrides: number {place} is no NAME=VALUE, and this "
                "process has no variable of that name. It is not shown, as it may be a secret."
            )
        value = os.environ[name]
    return {"name": name, "value": value}


def _scalar(value: str) -> str | int | bool:
    """Read the numbers and the flag of a policy; all else are words."""
    if value in {"true", "false"}:
        return value == "true"
    return int(value) if re.fullmatch("[0-9]{1,15}", value) else value


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


_NAMES = {
    *(name for name in TestRunRequest.__dataclass_fields__ if name not in {"build", "concurrency"}),
    *(f"build_{name}" for name in Build.__dataclass_fields__),
    *(f"concurrency_{name}" for name in Concurrency.__dataclass_fields__),
    *WaitOptions.__dataclass_fields__,
    *("base_url", "project_id", "project_slug", "retry_for", "ca_bundle"),
    *(
        "no_concurrency",
        "key",
        "key_in_environment",
        "environment_ids",
        "interval_in_days",
        "reason",
    ),
}
"""The fields that are options, with dashes in their names."""
