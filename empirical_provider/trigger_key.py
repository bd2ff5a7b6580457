"""The key that travels with a request, so that its run can be found again.

The API knows no idempotency key. Ours goes along as metadata and, unless the user opts out, as a
variable of the tests: lists of runs are known to show the variable, and not known to show metadata.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.request_digest import RequestDigest

if TYPE_CHECKING:
    from empirical_provider.models import TestRun
    from empirical_provider.request import TestRunRequest

__all__ = ["METADATA_KEY", "VARIABLE", "Match", "TriggerKey", "is_elsewhere", "shown_by"]

METADATA_KEY = "trigger_key"
"""Where the key stands in a run's metadata."""

VARIABLE = "EMPIRICAL_TRIGGER_KEY"
"""Where it stands in the environment of the tests, unless the user opts out."""

_SHAPE = re.compile(r"([0-9a-f]{22})-([0-9]{1,6})-([0-9]{1,3})-([0-9a-f-]+)")


class Match(Enum):
    """Whether a run was started under a key, as far as what is shown of the run tells."""

    OURS = "ours"
    OTHER = "other"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerKey:
    """A key, at most 213 characters as text.

    Args:
        identity: Hash of what the run is for.
        generation: Grows whenever a person asks for a fresh run; runs of another one are never
            taken over.
        n: Grows whenever the run before has ended without a verdict, 0 to 999.
        request: Digest of the request.
    """

    identity: str
    generation: int
    n: int
    request: RequestDigest

    @classmethod
    def of(
        cls, key: str, request: TestRunRequest, *, api_key: str, generation: int = 0, n: int = 0
    ) -> Self:
        """Make the key of a request.

        Args:
            key: What the run is for, in words: unique for each release.
            request: The request, without the key.
            api_key: The API key, without which nobody can try out values of the request.
            generation: See the class; 0 to 999999.
            n: See the class.

        Raises:
            InvalidRequestError: The key is no text, or the request holds a key of its own.
        """
        _refuse_a_key_of_its_own(request)
        checks.whole_number("generation", generation, at_least=0)
        identity = hashlib.sha256(checks.text("key", key).encode()).hexdigest()[:22]
        return cls(
            identity=identity,
            generation=generation,
            n=n,
            request=RequestDigest.of(request, salt=identity, api_key=api_key),
        )

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read a key that a run shows; None if it is none of ours."""
        shape = _SHAPE.fullmatch(text or "")
        request = RequestDigest.parse(shape[4]) if shape else None
        if shape is None or request is None:
            return None
        return cls(identity=shape[1], generation=int(shape[2]), n=int(shape[3]), request=request)

    def __str__(self) -> str:
        return f"{self.identity}-{self.generation}-{self.n}-{self.request}"

    def at(self, n: int) -> Self:
        """Return the key of the n-th run."""
        return replace(self, n=n)

    def put_into(self, request: TestRunRequest, *, environment: bool) -> TestRunRequest:
        """Return the request with the key in it."""
        changes: dict[str, Any] = {
            "metadata": {**(request.metadata or {}), METADATA_KEY: str(self)}
        }
        if environment:
            overrides = request.environment_variables_overrides
            variable = {"name": VARIABLE, "value": str(self)}
            changes["environment_variables_overrides"] = [*(overrides or ()), variable]
        return replace(request, **changes)

    def match(self, run: TestRun, *, environment: bool, in_list: bool) -> Match:
        """Tell whether a run was started under this key, or a later ``n`` of it.

        Args:
            run: The run, as a list or its own page shows it.
            environment: Whether the key went into the environment of the tests.
            in_list: Whether a list shows it. Empty metadata tell nothing there: nothing is known of
                lists that have any.
        """
        if run.rerun_source_id is not None:
            return Match.OTHER  # it may show the key of the run that it repeats
        found = self.parse(run.trigger_key)
        if found is not None:
            return Match.OURS if self.is_for_the_same(found) and found.n >= self.n else Match.OTHER
        told = run.metadata is not None and bool(run.metadata or not in_list)
        if environment and run.override_names is not None:
            # A variable that is there, but with a value that is none of ours, may be masked.
            told = told or VARIABLE not in run.override_names
        return Match.OTHER if told else Match.UNTOLD

    def checked(self, told: Match, run: TestRun, request: TestRunRequest) -> Match:
        """Hold what a run shows against the request, as its key may be a copy of ours.

        A key that is for another request says so itself, and is no copy.
        """
        shown = self.parse(run.trigger_key)
        if shown is not None and self.differences(shown):
            return told
        if is_elsewhere(run, request.environment):
            return Match.OTHER
        commit = request.body().get("build", {}).get("commit")
        if told is Match.OURS and commit and run.commit:
            one, another = sorted((commit.lower(), run.commit.lower()), key=len)
            return told if another.startswith(one) else Match.UNTOLD
        return told

    def is_for_the_same(self, other: TriggerKey) -> bool:
        """Whether two keys are for the same thing, and the same generation of it."""
        return (self.identity, self.generation) == (other.identity, other.generation)

    def differences(self, other: TriggerKey) -> list[str]:
        """Name the request fields in which two keys differ, as far as they can be compared."""
        return self.request.differences(other.request)


def is_elsewhere(run: TestRun, environment: str | None) -> bool:
    """Say whether a run shows another environment than that, if any, as the API compares slugs."""
    here, there = environment, run.environment
    return here is not None and there is not None and here.lower() != there.lower()


def shown_by(*runs: TestRun) -> str | None:
    """Return the key that the same run shows in one of several responses.

    Either may show it masked; then the other one counts.
    """
    shown = [run.trigger_key for run in runs if run.trigger_key is not None]
    return next((text for text in shown if TriggerKey.parse(text)), next(iter(shown), None))


def _refuse_a_key_of_its_own(request: TestRunRequest) -> None:
    body = request.body()
    names = {each["name"] for each in body.get("environment_variables_overrides", ())}
    if METADATA_KEY in body.get("metadata", {}):
        raise InvalidRequestError(f"metadata must not hold {METADATA_KEY!r}: it is set from key.")
    if VARIABLE in names:
        raise InvalidRequestError(
            f"environment_variables_overrides must not hold {VARIABLE!r}: it is set from key."
        )
