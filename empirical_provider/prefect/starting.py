"""Starting the run of a task: the tasks that trigger, and those that wait as well, begin alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from empirical_provider.logs import logging_to
from empirical_provider.prefect.arguments import context_metadata, request_of
from empirical_provider.prefect.cancelling import started
from empirical_provider.prefect.durable import Wanted, aremembering, remembering
from empirical_provider.prefect.showing import ashow_run, show_run

if TYPE_CHECKING:
    from empirical_provider.models import TestRun
    from empirical_provider.request import TestRunRequest

__all__ = ["astart", "astart_unshown", "start", "start_unshown"]


def start(arguments: Mapping[str, Any], *, cancel: bool) -> TestRun:
    """Start the run that a task was asked for, or take over that of an earlier attempt; show it.

    Args:
        arguments: Those of the task.
        cancel: Whether the hook for cancellations may cancel the run.
    """
    run = start_unshown(arguments)
    show_run(arguments["credentials"], run, cancel=cancel)
    return run


async def astart(arguments: Mapping[str, Any], *, cancel: bool) -> TestRun:
    """Do what `start` does, in an async task."""
    run = await astart_unshown(arguments)
    await ashow_run(arguments["credentials"], run, cancel=cancel)
    return run


def start_unshown(arguments: Mapping[str, Any]) -> TestRun:
    """Do what `start` does, and leave showing the run to the caller, who waits for it, too."""
    from empirical_provider import trigger  # light until used

    wanted, request = _read(arguments)
    with (
        logging_to(wanted.credentials.logger),
        wanted.credentials.get_client() as client,
        remembering(wanted) as (once, save),
    ):
        return trigger.trigger_test_run(client, request, key=once, on_started=started, save=save)


async def astart_unshown(arguments: Mapping[str, Any]) -> TestRun:
    """Do what `start_unshown` does, in an async task."""
    from empirical_provider import trigger  # light until used

    wanted, request = _read(arguments)
    with logging_to(wanted.credentials.logger):
        async with (
            wanted.credentials.get_async_client() as client,
            aremembering(wanted) as (once, save),
        ):
            return await trigger.atrigger_test_run(
                client, request, key=once, on_started=started, save=save
            )


def _read(arguments: Mapping[str, Any]) -> tuple[Wanted, TestRunRequest]:
    """Return what the call wants, and the request to send."""
    request = request_of(arguments)
    wanted = Wanted(
        credentials=arguments["credentials"],
        request=request,
        key=arguments["key"],
        key_in_environment=arguments["key_in_environment"],
        after_red=arguments["on_retry_after_red"],
        policy=arguments["policy"],
    )
    if arguments["add_context_metadata"]:
        metadata = {**context_metadata(), **(request.metadata or {})}
        request = replace(request, metadata=metadata) if metadata else request
    return wanted, request
