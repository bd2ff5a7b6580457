"""How to wait for a run, as users say it.

On its own, because hosts check it where no request is sent, such as in every process that parses
a DAG: those do not load the models of the API's answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.policy import GatePolicy

__all__ = ["WaitOptions", "commit_to_expect", "is_same_commit"]

_SHORTEST = 7
"""Characters of an abbreviated hash that tell it from others, as Git has it by default."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)  # what is not needed takes time
class WaitOptions:
    """How to wait for a run, checked: for hosts that take this long before they wait.

    Args:
        policy: What the verdict goes by: a `GatePolicy`, a mapping of its fields, or the default.
        poll_interval: Seconds between two looks, varied by up to a tenth; default 10.
        timeout: Seconds after which to stop waiting; default 7200.
        start_timeout: Seconds within which the run must leave pending and queued; default None:
            any. 0 is refused.
        expect_commit: The commit that must have been tested; default None: any.

    Raises:
        InvalidRequestError: A value is not valid; the message names it.
    """

    policy: GatePolicy | Mapping[str, Any] | None = None
    poll_interval: float = 10.0
    timeout: float = 7200.0
    start_timeout: float | None = None
    expect_commit: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", GatePolicy.of(self.policy))
        for name in ("poll_interval", "timeout", "start_timeout"):
            value = getattr(self, name)
            if value is not None or name != "start_timeout":
                object.__setattr__(self, name, checks.number(name, value))
        if self.expect_commit is not None:
            _checked(self.expect_commit)

    def as_arguments(self) -> dict[str, Any]:
        """Return the options the way `wait_for_test_run` takes them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def commit_to_expect(given: object, build: object = None) -> str | None:
    """Return the commit that a run must have tested.

    Args:
        given: A commit; or True, for that of the build, if it names one; or False or None, for any.
        build: The build that is tested: a `Build`, a mapping of its fields, or None.

    Raises:
        InvalidRequestError: It is something else, or a hash that is too short.
    """
    if given is None or isinstance(given, bool):
        commit = (
            build.get("commit") if isinstance(build, Mapping) else getattr(build, "commit", None)
        )
        return _checked(commit) if given and commit is not None else None
    return _checked(given)


def is_same_commit(one: str, other: str) -> bool:
    """Say whether two texts name one commit: either may be an abbreviated hash.

    Of all else, such as the name of a version, nothing short stands for something longer.
    """
    short, long = sorted((one.strip().lower(), other.strip().lower()), key=len)
    if short == long:
        return True
    return len(short) >= _SHORTEST and _is_hash(short) and _is_hash(long) and long.startswith(short)


def _is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]+", text) is not None


def _checked(commit: object) -> str:
    """Require a text that can tell commits apart."""
    given = checks.line("expect_commit", commit)
    text = given.strip().lower()
    if _is_hash(text) and len(text) < _SHORTEST:
        raise InvalidRequestError(
            f"expect_commit must be at least {_SHORTEST} characters of a commit's hash, not "
            f"{checks.named(given)}. Give the full hash, or False to expect no commit."
        )
    return given
