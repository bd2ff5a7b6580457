"""Which request is the same one: one identity for the core and the orchestrators.

What changes neither the tests nor what they test is not part of it, and no order in which a user
gives tags, tests or variables is. The values of overrides are secrets: they are only ever digested
under the API key (HMAC), so that nobody without it can try values out. All else is no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from empirical_provider.request import TestRunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RequestDigest", "canonical", "digest", "sealed"]

_NOT_TESTED = {"metadata", "github_actor", "send_notifications"}
_SETS = ("tags", "test_case_ids")
_OVERRIDES = "environment_variables_overrides"
_FIELDS = [each.name for each in fields(TestRunRequest) if each.name not in _NOT_TESTED]

_SHAPE = re.compile(r"([0-9a-f]{16})-((?:[0-9a-f]{4})+)-([0-9a-f]{64})-([0-9a-f]{64})")


def canonical(request: TestRunRequest) -> dict[str, Any]:
    """Return what makes a request the same one; overrides as a mapping of name to value."""
    body = {name: each for name, each in request.body().items() if name not in _NOT_TESTED}
    body["environment"] = body["environment"].lower()  # as the API does
    for name in _SETS:
        if name in body:
            body[name] = sorted(set(body[name]))
    if _OVERRIDES in body:
        body[_OVERRIDES] = {each["name"]: each["value"] for each in body[_OVERRIDES]}
    return body


def digest(*parts: Any) -> str:
    """Return a hash of plain data: for what is no secret."""
    return hashlib.sha256(_written(parts)).hexdigest()


def sealed(api_key: str, *parts: Any) -> str:
    """Return a hash of plain data that tells nothing to anybody without the API key."""
    return hmac.new(api_key.encode(), _written(parts), hashlib.sha256).hexdigest()


def _written(parts: tuple[Any, ...]) -> bytes:
    return json.dumps(parts, sort_keys=True).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDigest:
    """The digest of a request, at most 179 characters as text.

    Args:
        api_key: Fingerprint of the API key: values can be compared only where it is the same.
        names: Four digits for each field, to name those that differ.
        fields: Digest of all fields but the values of overrides.
        values: Digest of those values, under the API key.
    """

    api_key: str
    names: str
    fields: str
    values: str

    @classmethod
    def of(cls, request: TestRunRequest, *, salt: str, api_key: str) -> Self:
        """Make the digest of a request; under another salt it is another one."""
        body = canonical(request)
        overrides: Mapping[str, str] = body.get(_OVERRIDES, {})
        body[_OVERRIDES] = sorted(overrides)
        return cls(
            api_key=sealed(api_key, salt, "API key")[:16],
            names="".join(digest(salt, name, body.get(name))[:4] for name in _FIELDS),
            fields=digest(salt, body),
            values=sealed(api_key, salt, "values", overrides),
        )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a digest; None if the text is none."""
        shape = _SHAPE.fullmatch(text)
        if shape is None:
            return None
        api_key, names, of_fields, values = shape.groups()
        return cls(api_key=api_key, names=names, fields=of_fields, values=values)

    def __str__(self) -> str:
        return f"{self.api_key}-{self.names}-{self.fields}-{self.values}"

    def differences(self, other: RequestDigest) -> list[str]:
        """Name the fields in which two requests differ; none where they are the same.

        The values of overrides are not compared where the API keys differ, such as after a
        rotation.
        """
        names = []
        if self.fields != other.fields:
            ours, theirs = (re.findall("....", each.names) for each in (self, other))
            if len(ours) == len(theirs) == len(_FIELDS):
                pairs = zip(_FIELDS, ours, theirs, strict=True)
                names = [name for name, one, another in pairs if one != another]
            names = names or ["a field that the key does not name"]
        if self.api_key == other.api_key and self.values != other.values:
            names = [each for each in _FIELDS if each in {*names, _OVERRIDES}]
        return names
