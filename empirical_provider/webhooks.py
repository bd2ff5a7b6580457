"""Webhooks: who sent one, and which run it may be about.

Nothing of this is documented. All that is known was OBSERVED, in how Empirical tests its own
webhooks, and stands here alone:

* The header ``x-webhook-signature`` holds ``sha256=`` and the HMAC-SHA256 of the raw body in hex.
  The key is what follows ``whsec_`` in the secret, decoded from base64url.
* There are events named ``test_run.queued``, ``test_run.started`` and ``webhook.test``. There are
  more; how those are called that tell of a run's end is not known.
* The body is JSON with the event's name and the run's id in it.
* There is no timestamp, so a webhook that somebody has recorded can be sent again.

Where in the body the two stand is not known. The keys below are GUESSED, and where they leave a
doubt nothing is read. So a webhook is a hint to look at a run, and never its verdict: that comes
from reading the run through the API.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError, WebhookRefusedError

__all__ = ["LARGEST_BODY", "WebhookEvent", "read_webhook"]

T = TypeVar("T")

LARGEST_BODY = 1 << 20
"""Bytes of the largest body that is read: a guess at what no webhook needs."""

# Observed

_HEADER = "x-webhook-signature"
_SIGNATURE = re.compile("sha256=([0-9a-fA-F]{64})")
_SECRET = re.compile("whsec_([A-Za-z0-9_-]+)=*")
_SHORTEST_KEY = 16
"""Bytes of a secret that nobody can guess; one with fewer was cut."""

_NOT_THE_END = frozenset({"test_run.queued", "test_run.started", "webhook.test"})

# Guessed: the first key that holds one decides; in other spellings, too, such as testRunId.

_EVENT_KEYS = ("event", "eventtype", "eventname", "type")
_RUN_KEYS = ("testrunid", "testrun", "runid", "run")
_EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_EVENT_ANYWHERE = re.compile(r"(test_run|webhook)(\.[a-z][a-z0-9_]*)+")
_LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """A genuine webhook: a hint to look at a run, and nothing to judge it by.

    Attributes:
        event: Name of the event, such as ``test_run.started``; None where that is in doubt.
        test_run_id: Database id of the run that it is about; None where that is in doubt.
        payload: The body as JSON. It is left out of the repr.
    """

    event: str | None
    test_run_id: int | None
    payload: Any = field(repr=False, hash=False)

    @property
    def may_tell_the_end(self) -> bool:
        """Whether the run may have ended.

        False for the events that are known to tell of something else. The names of those that tell
        of the end are not known, so every other one may.
        """
        return self.event not in _NOT_THE_END


def read_webhook(
    body: bytes, headers: Mapping[str, str], *, secrets: str | Iterable[str]
) -> WebhookEvent:
    """Check the signature of a webhook, and then read what it is about.

    The way of signing, and all that is read, was observed and is not documented.

    Args:
        body: The raw body as it was received, at most 1 MiB.
        headers: The headers of the request, in any case.
        secrets: The secret that was shown when the webhook was made (``whsec_...``); while it is
            being changed, the old one and the new one, either of which is good.

    Returns:
        The event. What it is called and which run it is about is None where that is in doubt.

    Raises:
        WebhookRefusedError: The signature is missing, malformed or wrong; or the body is too large,
            no JSON, or has a name twice in one object.
        InvalidRequestError: An argument is not valid; the message names it, and never a secret.
    """
    keys = _keys(secrets)
    if not isinstance(body, bytes):
        raise InvalidRequestError(
            f"body must be bytes, not {type(body).__name__}: what was signed is the raw body, as "
            f"it was received."
        )
    if len(body) > LARGEST_BODY:
        raise WebhookRefusedError(
            f"The webhook is refused: its body is {len(body)} bytes; allowed are {LARGEST_BODY}."
        )
    _check_signature(_signature(headers), body, keys)
    payload = _json(body)
    pairs = [*_pairs(payload)]
    return WebhookEvent(event=_event(pairs), test_run_id=_test_run_id(pairs), payload=payload)


# The signature


def _keys(secrets: str | Iterable[str]) -> list[bytes]:
    """Decode the secrets; none of them is ever in a message."""
    if isinstance(secrets, str):
        return [_key("secrets", secrets)]
    return [
        _key(f"secrets[{place}]", each)
        for place, each in enumerate(checks.list_of_lines("secrets", secrets))
    ]


def _key(name: str, secret: str) -> bytes:
    found = _SECRET.fullmatch(secret)
    key = _decoded(found[1]) if found else None
    if not key:
        raise InvalidRequestError(
            f"{name} must be whsec_ and base64url (letters, digits, - and _) after it; the str "
            f"given is none."
        )
    if len(key) < _SHORTEST_KEY:
        raise InvalidRequestError(
            f"{name} must hold at least {_SHORTEST_KEY} bytes after whsec_, got {len(key)}: a "
            f"shorter secret can be guessed. Copy the whole secret, as it was shown."
        )
    return key


def _decoded(text: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


def _signature(headers: Mapping[str, str]) -> bytes:
    """Return the one signature in the headers."""
    given = checks.as_mapping("headers", headers).items()
    found = [value for name, value in given if name.lower() == _HEADER]
    if len(found) != 1:
        raise WebhookRefusedError(
            f"The webhook is refused: it must have one header {_HEADER}, and has {len(found)}."
        )
    value = found[0]
    if not isinstance(value, str):
        raise InvalidRequestError(f"headers[{_HEADER}] must be a str, not {type(value).__name__}.")
    signature = _SIGNATURE.fullmatch(value.strip(" \t"))
    if signature is None:
        raise WebhookRefusedError(
            f"The webhook is refused: its header {_HEADER} must be sha256= and 64 hex digits."
        )
    return bytes.fromhex(signature[1])


def _check_signature(signature: bytes, body: bytes, keys: list[bytes]) -> None:
    """Require that one of the keys has signed it; the time taken does not tell which, or how."""
    expected = [hmac.digest(key, body, "sha256") for key in keys]
    if not any([hmac.compare_digest(each, signature) for each in expected]):  # noqa: C419  # all
        raise WebhookRefusedError(
            f"The webhook is refused: its body was not signed with the secret. {len(keys)} given; "
            f"each webhook has its own, and the body must be the raw one."
        )


# What it is about


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object)
    except _TwiceError:
        what = "a name is in one of its objects twice"
    except (ValueError, RecursionError):
        what = "its body is no JSON"
    # Raised out here, so that no error that holds the body travels along.
    raise WebhookRefusedError(f"The webhook is refused: it is genuine, but {what}.")


class _TwiceError(Exception):
    """A name is twice in one object: two readers could take it for two different runs."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _pairs(payload: Any) -> Iterator[tuple[str, Any]]:
    """Yield all that is in it, however deep, with its key; an array's items have none."""
    waiting = [("", payload)]
    while waiting:
        key, value = waiting.pop()
        yield key.replace("_", "").replace("-", "").lower(), value
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend(("", each) for each in value)


def _event(pairs: list[tuple[str, Any]]) -> str | None:
    """Read the event's name by its key, or anywhere if it is of a kind that is known."""

    def read(value: Any, shape: re.Pattern[str] = _EVENT) -> str | None:
        return value if isinstance(value, str) and shape.fullmatch(value) else None

    named = _first(pairs, _EVENT_KEYS, read)
    return _only(named or {read(value, _EVENT_ANYWHERE) for _, value in pairs} - {None})


def _test_run_id(pairs: list[tuple[str, Any]]) -> int | None:
    """Read the run's id, alone or in an object; an ``id`` of its own may be of anything."""

    def read(value: Any) -> int | None:
        if isinstance(value, dict):
            value = value.get("id")
        if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
            value = int(value)
        known = isinstance(value, int) and not isinstance(value, bool)
        return value if known and 0 < value <= _LARGEST_ID else None

    return _only(_first(pairs, _RUN_KEYS, read))


def _first(
    pairs: list[tuple[str, Any]], keys: Iterable[str], read: Callable[[Any], T | None]
) -> set[T | None]:
    """Return what can be read under the first of the keys under which anything can."""
    for wanted in keys:
        found = {read(value) for key, value in pairs if key == wanted} - {None}
        if found:
            return found
    return set()


def _only(found: set[T | None]) -> T | None:
    return found.pop() if len(found) == 1 else None
