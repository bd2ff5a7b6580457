"""What is said where a run cannot be started under a key, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from empirical_provider.exceptions import InvalidRequestError, TriggerOutcomeUnknownError

if TYPE_CHECKING:
    from empirical_provider.request import TestRunRequest
    from empirical_provider.searching import UntoldError
    from empirical_provider.trigger_key import TriggerKey
    from empirical_provider.trigger_once import TriggerOnce

__all__ = ["key_taken", "outcome_unknown"]


def key_taken(once: TriggerOnce, different: list[str], run_id: int | None) -> InvalidRequestError:
    """Return the error for a key that was used for another request.

    Args:
        once: For what the run is wanted.
        different: Names of the fields in which the requests differ.
        run_id: The run that was started for the other, if it is known.
    """
    by = "an earlier attempt" if run_id is None else f"test run {run_id}"
    remedy = (
        f"Use a key of its own for each release: {once.key!r} is taken."
        if once.shared
        else "An attempt must ask for the same as the one before; or start afresh."
    )
    return InvalidRequestError(
        f"The trigger key was used before for another request, by {by}, which differs in "
        f"{', '.join(different)}. {remedy}",
        run_id=run_id,
    )


def outcome_unknown(
    once: TriggerOnce,
    request: TestRunRequest,
    key: TriggerKey,
    why: UntoldError,
    dashboard_url: str,
) -> TriggerOutcomeUnknownError:
    """Return the error for a run of which nobody can tell whether it was started.

    Args:
        once: For what the run is wanted.
        request: The request.
        key: Its key.
        why: What keeps everybody from telling.
        dashboard_url: Where a person can look.
    """
    shown = (
        ""
        if once.key_in_environment
        else " The next one can be found, if key_in_environment is left at its default, True."
    )
    error = TriggerOutcomeUnknownError(
        f"It is not known whether a test run was started in the environment "
        f"{request.environment!r} with the trigger key {key}: {why}. Nothing more was sent. Look "
        f"at {dashboard_url}: if a run with this key in its metadata is there, wait for it by its "
        f"id; if not, start one with another key.{shown}"
    )
    # A further attempt looks again before it sends anything; it may not see more, though.
    error.may_pass = not why.for_good
    return error
