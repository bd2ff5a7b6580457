"""The key that travels with a request, so that its run can be found again.

The API knows no idempotency key. Ours goes along as metadata and, if the user opts in, as a
variable of the tests: what the API shows of a run differs by field.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from empirical_provider.models import TestRun
    from empirical_provider.request import TestRunRequest

__all__ = ["METADATA_KEY", "VARIABLE", "Match", "TriggerKey"]

METADATA_KEY = "trigger_key"
"""Where the key stands in a run's metadata."""

VARIABLE = "EMPIRICAL_TRIGGER_KEY"
"""Where it stands in the environment of the tests, if the user opts in."""

_SHAPE = re.compile(r"([0-9a-f]{22})-([0-9]{1,6})-([0-9]{1,3})-([0-9a-f]{30})")

_DIGITS = {
    "environment": 4,
    "build": 4,
    "branch": 4,
    # Two digits are too few to guess a secret value by, and enough to notice most changes.
    "environment_variables_overrides": 2,
    "tags": 4,
    "test_case_ids": 4,
    "total_shards": 4,
    "concurrency": 4,
}
"""What makes a request the same one, and how many digits of each field's hash the key holds.

Not in it is what changes neither the tests nor what they test: metadata, github_actor,
send_notifications.
"""


class Match(Enum):
    """Whether a run was started under a key, as far as what is shown of the run tells."""

    OURS = "ours"
    OTHER = "other"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerKey:
    """A key, at most 64 characters as text.

    Args:
        identity: Hash of what the run is for.
        generation: Grows whenever a person asks for a fresh run; runs of another one are never
            taken over.
        n: Grows whenever the run before has ended without a verdict, 0 to 999.
        request: Hashes of the request's fields.
    """

    identity: str
    generation: int
    n: int
    request: str

    @classmethod
    def of(cls, key: str, request: TestRunRequest, *, generation: int = 0, n: int = 0) -> Self:
        """Make the key of a request.

        Args:
            key: What the run is for, in words: unique for each release.
            request: The request, without the key.
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
            request="".join(
                _digest(identity, name, request)[:digits] for name, digits in _DIGITS.items()
            ),
        )

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read a key that a run shows; None if it is none of ours."""
        shape = _SHAPE.fullmatch(text or "")
        if shape is None:
            return None
        identity, generation, n, request = shape.groups()
        return cls(identity=identity, generation=int(generation), n=int(n), request=request)

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
            same = (found.identity, found.generation) == (self.identity, self.generation)
            return Match.OURS if same and found.n >= self.n else Match.OTHER
        told = run.metadata is not None and bool(run.metadata or not in_list)
        if environment and run.override_names is not None:
            # A variable that is there, but with a value that is none of ours, may be masked.
            told = told or VARIABLE not in run.override_names
        return Match.OTHER if told else Match.UNTOLD

    def differences(self, other: TriggerKey) -> list[str]:
        """Name the request fields in which two keys differ."""
        names, place = [], 0
        for name, digits in _DIGITS.items():
            part = slice(place, place + digits)
            if self.request[part] != other.request[part]:
                names.append(name)
            place += digits
        return names


def _digest(identity: str, name: str, request: TestRunRequest) -> str:
    value = request.body().get(name)
    if isinstance(value, list):  # the order of a list makes no difference to the tests
        value = sorted(value, key=str)
    written = json.dumps([identity, name, value], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()


def _refuse_a_key_of_its_own(request: TestRunRequest) -> None:
    body = request.body()
    names = {each["name"] for each in body.get("environment_variables_overrides", ())}
    if METADATA_KEY in body.get("metadata", {}):
        raise InvalidRequestError(f"metadata must not hold {METADATA_KEY!r}: it is set from key.")
    if VARIABLE in names:
        raise InvalidRequestError(
            f"environment_variables_overrides must not hold {VARIABLE!r}: it is set from key."
        )
