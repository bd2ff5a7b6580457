"""Webhooks: only genuine ones are read, and what they do not say for sure is not made up."""

from __future__ import annotations

import json
import pickle
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from empirical_provider import (
    EmpiricalError,
    InvalidRequestError,
    WebhookEvent,
    WebhookRefusedError,
    read_webhook,
    webhooks,
)
from tests.signing import HEADER, OLD_SECRET, SECRET, key_of, secret_of, signature, signed, webhook

BODY = b'{"event": "test_run.started", "test_run": {"id": 456}}'
PINNED = "69d6f02020f4c0b9e3f115a1a9a9768cf0f56cf795593f39e0fd00b7823d6050"
"""The signature of `BODY` with `SECRET`, as OpenSSL's command makes it."""

WHERE = {"secrets": SECRET}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["test_run.started", "webhook.test", "a.b", "456", "test_run."])
)
names = st.text(max_size=4) | st.sampled_from(["event", "type", "test_run", "testRunId", "id"])
payloads = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
keys = st.binary(min_size=16, max_size=48)


@contextmanager
def refused(
    match: str, *secrets: str, kind: type[EmpiricalError] = WebhookRefusedError
) -> Iterator[None]:
    """Expect an error that holds no secret, in its text or in an error that travels along."""
    with pytest.raises(EmpiricalError, match=match) as caught:
        yield
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    told = f"{caught.value!r} {pickle.loads(pickle.dumps(caught.value))}"
    for secret in (*secrets, SECRET, OLD_SECRET):
        assert secret not in told
        assert secret.removeprefix("whsec_") not in told


def test_a_genuine_webhook_is_read() -> None:
    """What OpenSSL has signed with the decoded secret passes, and tells its event and its run."""
    event = read_webhook(BODY, {HEADER: f"sha256={PINNED}"}, secrets=SECRET)
    assert (event.event, event.test_run_id) == ("test_run.started", 456)
    assert event.payload == json.loads(BODY)
    assert signature(BODY) == PINNED


def test_an_event_is_frozen_and_shows_no_payload() -> None:
    """What was received is in no log by accident, cannot be changed, and can be put in a set."""
    event = read_webhook(*webhook({"event": "webhook.test", "note": "not-for-logs"}), **WHERE)
    assert repr(event) == "WebhookEvent(event='webhook.test', test_run_id=None)"
    assert {event} == {WebhookEvent(event="webhook.test", test_run_id=None, payload=event.payload)}
    with pytest.raises(AttributeError):
        event.event = "test_run.started"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("event", "may"),
    [
        ("test_run.queued", False),
        ("test_run.started", False),
        ("webhook.test", False),
        ("test_run.something_new", True),
        (None, True),
    ],
)
def test_whatever_is_not_known_may_tell_the_end(event: str | None, may: bool) -> None:
    """Only what is known to come before the end is left alone: the names of the others are not."""
    told = WebhookEvent(event=event, test_run_id=1, payload=None)
    assert told.may_tell_the_end is may


def test_the_page_about_webhooks_shows_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    """The code in the documentation reads a genuine webhook, and refuses another."""
    page = Path(__file__).parents[2] / "docs" / "webhooks.md"
    [code] = re.findall("```python\n(.+?)```", page.read_text(), re.DOTALL)
    exec(code, {})  # noqa: S102  # our own page
    assert capsys.readouterr().out == "test_run.queued 456\n"
    forged = code.replace("hmac.digest(key, body,", "hmac.digest(key, b'',")
    exec(forged, {})  # noqa: S102  # as above
    assert capsys.readouterr().out.startswith("401 The webhook is refused")


# Signatures


@given(body=st.binary(max_size=200), key=keys)
def test_the_signature_alone_decides(body: bytes, key: bytes) -> None:
    """Whatever was signed with the secret passes, or is refused for not being JSON and no more."""
    secret = secret_of(key)
    try:
        json.loads(body)
    except ValueError:
        is_json = False
    else:
        is_json = True
    with nullcontext() if is_json else refused("it is genuine, but its body is no JSON"):
        read_webhook(body, signed(body, secret), secrets=secret)


@given(payload=payloads, data=st.data())
def test_a_body_with_one_bit_flipped_is_refused(payload: Any, data: st.DataObject) -> None:
    """The body is what was signed, to the last bit."""
    body, headers = webhook(payload)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    forged = bytearray(body)
    forged[bit // 8] ^= 1 << bit % 8
    with refused("was not signed with the secret"):
        read_webhook(bytes(forged), headers, **WHERE)


@given(place=st.integers(0, 70), bit=st.integers(0, 6))
def test_a_signature_with_one_bit_flipped_is_refused(place: int, bit: int) -> None:
    """No other signature passes; only upper and lower case of a hex digit are the same digit."""
    good = f"sha256={PINNED}"
    forged = good[:place] + chr(ord(good[place]) ^ 1 << bit) + good[place + 1 :]
    assume(not (place >= len("sha256=") and forged.lower() == good))
    with refused("its header x-webhook-signature must be|was not signed with the secret"):
        read_webhook(BODY, {HEADER: forged}, **WHERE)


@given(key=keys, data=st.data())
def test_a_secret_with_one_bit_flipped_is_refused(key: bytes, data: st.DataObject) -> None:
    """No other key passes."""
    bit = data.draw(st.integers(0, 8 * len(key) - 1))
    other = bytearray(key)
    other[bit // 8] ^= 1 << bit % 8
    # A key is padded with zeros up to a block, by HMAC itself: one more or less is the same key.
    assume(bytes(other).rstrip(b"\0") != key.rstrip(b"\0"))
    wrong = secret_of(bytes(other))
    with refused("was not signed with the secret. 1 given"):
        read_webhook(BODY, signed(BODY, secret_of(key)), secrets=wrong)


@given(place=st.integers(0, len(SECRET) - 1), character=st.characters(max_codepoint=0x17F))
def test_a_secret_with_a_wrong_character_is_refused(place: int, character: str) -> None:
    """A misspelt secret is told from a good one, by its shape or by the signature."""
    misspelt = SECRET[:place] + character + SECRET[place + 1 :]
    try:
        same = misspelt.startswith("whsec_") and key_of(misspelt) == key_of(SECRET)
    except ValueError:
        same = False
    assume(not same)
    well_formed = re.fullmatch("whsec_[A-Za-z0-9_-]+=*", misspelt)
    kind: Any = WebhookRefusedError if well_formed else InvalidRequestError
    with refused("secret", misspelt, kind=kind):
        read_webhook(BODY, signed(BODY), secrets=misspelt)


@pytest.mark.parametrize("secret", [OLD_SECRET, SECRET], ids=["old", "new"])
@pytest.mark.parametrize("order", [1, -1])
def test_while_the_secret_is_changed_both_are_good(secret: str, order: int) -> None:
    """Whichever of the two has signed, and wherever it stands in the list, the webhook passes."""
    given_ = (OLD_SECRET, SECRET)[::order]
    assert read_webhook(BODY, signed(BODY, secret), secrets=given_).test_run_id == 456
    assert read_webhook(BODY, signed(BODY, secret), secrets=iter(given_)).test_run_id == 456


def test_afterwards_the_old_secret_is_stale() -> None:
    """What is signed with a secret that is no longer given is refused, as any other is."""
    with refused("was not signed with the secret"):
        read_webhook(BODY, signed(BODY, OLD_SECRET), secrets=[SECRET])


def test_the_raw_body_is_what_was_signed() -> None:
    """The same JSON with another space in it, or a field in another place, is another body."""
    for other in (json.dumps(json.loads(BODY), indent=1), '{"test_run":{"id":456},"event":"a.b"}'):
        with refused("the body must be the raw one"):
            read_webhook(other.encode(), signed(BODY), **WHERE)


@pytest.mark.parametrize("body", [BODY.decode(), json.loads(BODY), None, bytearray(BODY)])
def test_a_body_that_is_not_raw_is_an_error_of_ours(body: Any) -> None:
    """Text and parsed JSON are refused by their type: no signature could be checked by them."""
    with pytest.raises(InvalidRequestError, match=f"body must be bytes, not {type(body).__name__}"):
        read_webhook(body, signed(BODY), **WHERE)


@pytest.mark.parametrize(
    "value",
    [
        PINNED,
        f"sha1={PINNED}",
        f"SHA256={PINNED}",
        f"sha256 ={PINNED}",
        "sha256=",
        f"sha256={PINNED[:-1]}",
        f"sha256={PINNED}0",
        f"sha256={PINNED[:-1]}g",
        f"sha256={PINNED[:-1]}\u0665",
        f"sha256={PINNED[:32]} {PINNED[32:]}",
        f"sha256={PINNED}\n",
        f"sha256={PINNED}, sha256={PINNED}",
        "",
    ],
)
def test_a_malformed_signature_is_refused(value: str) -> None:
    """Another algorithm, too few or too many digits, and two in one header are no signature."""
    with refused("its header x-webhook-signature must be sha256= and 64 hex digits"):
        read_webhook(BODY, {HEADER: value}, **WHERE)


def test_a_signature_that_is_missing_or_given_twice_is_refused() -> None:
    """There is one signature, and nobody has to choose."""
    with pytest.raises(WebhookRefusedError, match="one header x-webhook-signature, and has 0"):
        read_webhook(BODY, {"x-signature": PINNED}, **WHERE)
    twice = {HEADER: f"sha256={PINNED}", HEADER.upper(): f"sha256={PINNED}"}
    with pytest.raises(WebhookRefusedError, match="one header x-webhook-signature, and has 2"):
        read_webhook(BODY, twice, **WHERE)


def test_headers_come_in_any_case_and_any_mapping() -> None:
    """Names are told apart without case, hex digits too, and white space around is HTTP's own."""
    for name in (HEADER, HEADER.upper(), "X-Webhook-Signature"):
        for value in (f"sha256={PINNED}", f" sha256={PINNED}\t", f"sha256={PINNED.upper()}"):
            assert read_webhook(BODY, MappingProxyType({name: value}), **WHERE).test_run_id == 456
    received = parse_headers(BytesIO(f"X-Webhook-Signature: sha256={PINNED}\r\n\r\n".encode()))
    assert read_webhook(BODY, dict(received), **WHERE).test_run_id == 456


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (None, "headers must be a mapping, not None"),
        ([(HEADER, PINNED)], "headers must be a mapping, not list"),
        ({HEADER.encode(): PINNED}, "a key of headers must be a non-empty string, not bytes"),
        ({HEADER: [PINNED]}, r"headers\[x-webhook-signature\] must be a str, not list"),
    ],
)
def test_headers_of_another_kind_are_an_error_of_ours(headers: Any, message: str) -> None:
    """Who passes no mapping of text is told so, rather than that the signature is wrong."""
    with pytest.raises(InvalidRequestError, match=message):
        read_webhook(BODY, headers, **WHERE)


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ("", "secrets must be whsec_ and base64url"),
        ("whsec_", "secrets must be whsec_ and base64url"),
        ("whsec_====", "secrets must be whsec_ and base64url"),
        ("whsec_abcde", "secrets must be whsec_ and base64url"),  # no number of bytes has 5 digits
        ("whsec_made+up/here", "secrets must be whsec_ and base64url"),
        (f"{SECRET}\n", "secrets must be whsec_ and base64url"),
        (SECRET.removeprefix("whsec_"), "secrets must be whsec_ and base64url"),
        ([SECRET, "made-up"], r"secrets\[1\] must be whsec_ and base64url"),
        ([SECRET, ""], r"secrets\[1\] must be a non-empty string, not an empty str"),
        ([SECRET, None], r"secrets\[1\] must be a non-empty string, not None"),
        ([], "secrets must name at least one"),
        (None, "secrets must be a list of strings, not None"),
        (SECRET.encode(), r"secrets must be a list of strings, not bytes"),
        ({SECRET: SECRET}, "secrets must be a list of strings, not dict"),
    ],
)
def test_a_badly_formed_secret_is_an_error_of_ours(secrets: Any, message: str) -> None:
    """It is told by its place before anything is checked, so that a typing error is no forgery."""
    with refused(message, kind=InvalidRequestError):
        read_webhook(BODY, {}, secrets=secrets)


@pytest.mark.parametrize("length", range(1, 16))
def test_a_secret_that_can_be_guessed_is_refused(length: int) -> None:
    """One of few bytes is a secret that was cut, and signs nothing, whatever was signed with it."""
    for key in (b"k" * length, bytes(length), bytes(range(length))):
        short = secret_of(key)
        with refused(
            f"secrets must hold at least 16 bytes after whsec_, got {length}",
            kind=InvalidRequestError,
        ):
            read_webhook(BODY, signed(BODY, short), secrets=short)
        with refused(r"secrets\[1\] must hold at least 16", kind=InvalidRequestError):
            read_webhook(BODY, signed(BODY), secrets=[SECRET, short])
    long_enough = secret_of(b"k" * 16)
    assert read_webhook(BODY, signed(BODY, long_enough), secrets=long_enough).test_run_id == 456


def test_padding_is_optional() -> None:
    """The same secret with and without padding is the same key."""
    assert OLD_SECRET.endswith("=")
    for secret in (OLD_SECRET, OLD_SECRET.rstrip("=")):
        assert read_webhook(BODY, signed(BODY, OLD_SECRET), secrets=secret).test_run_id == 456


def test_a_huge_body_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that no webhook needs costs no hashing; the largest one passes."""
    largest = b'{"run_id": 7}'.ljust(webhooks.LARGEST_BODY)
    assert read_webhook(largest, signed(largest), **WHERE).test_run_id == 7
    monkeypatch.delattr("hmac.digest")
    with pytest.raises(WebhookRefusedError, match="1048577 bytes; allowed are 1048576"):
        read_webhook(largest + b" ", signed(largest), **WHERE)


def test_all_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compared, by the function made for it, also after one has been found to fit."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    read_webhook(BODY, signed(BODY), secrets=[SECRET, OLD_SECRET])
    assert [each.hex() for each in compared] == [PINNED, signature(BODY, OLD_SECRET)]


def test_a_refusal_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the secret, the key in it, the signature that would be right nor the body is told."""
    caplog.set_level("DEBUG")
    with pytest.raises(WebhookRefusedError) as caught:
        read_webhook(BODY, signed(BODY, OLD_SECRET), **WHERE)
    told = f"{caught.value!r} {traceback.format_exception_only(caught.value)} {caplog.text}"
    for hidden in (SECRET, key_of(SECRET).decode(), PINNED, signature(BODY, OLD_SECRET), "456"):
        assert hidden not in told
    assert caplog.text == ""


# What they are about


@given(payload=payloads)
def test_any_signed_json_is_read(payload: Any) -> None:
    """Whatever the JSON is, it is an event, whose name and run are of their kind or None."""
    event = read_webhook(*webhook(payload), **WHERE)
    assert event.payload == payload
    assert event.event is None or "." in event.event
    assert event.test_run_id is None or (type(event.test_run_id) is int and event.test_run_id > 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"test_run.started",
        b"\xff\xfe",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"run_id": ' + b"9" * 5_000 + b"}",
    ],
    ids=["empty", "text", "bytes", "nested", "number"],
)
def test_a_genuine_body_that_is_no_json_is_refused(body: bytes) -> None:
    """What cannot be parsed is told by our error, which does not carry the body along."""
    with refused("it is genuine, but its body is no JSON"):
        read_webhook(body, signed(body), **WHERE)


@pytest.mark.parametrize(
    "body",
    [
        b'{"test_run_id": 456, "test_run_id": 455}',
        b'{"test_run_id": 456, "test_run_id": 456}',
        b'{"test_run_id": 456, "test_run\\u005fid": 455}',
        b'{"event": "test_run.started", "event": "test_run.ended", "run_id": 456}',
        b'[{"data": {"test_run": {"id": 456, "id": 455}}}]',
        b'{"data": {"run_id": 456}, "data": {"run_id": 456}}',
    ],
)
def test_a_name_that_stands_twice_is_refused(body: bytes) -> None:
    """Two readers of it could take it for two runs: neither is named."""
    with refused("it is genuine, but a name is in one of its objects twice"):
        read_webhook(body, signed(body), **WHERE)


@pytest.mark.parametrize(
    "payload", [{"test_run_id": 456, "testRunId": 455}, {"run_id": 456, "runId": "455"}]
)
def test_two_spellings_that_differ_name_no_run(payload: Any) -> None:
    """Nor does one that is there in two spellings with two ids."""
    assert read_webhook(*webhook(payload), **WHERE).test_run_id is None


def test_a_body_as_deep_as_json_goes_is_read() -> None:
    """The search does not run out of stack where the parser does not."""
    depth = 900
    body = b'{"data": ' * depth + BODY + b"}" * depth
    event = read_webhook(body, signed(body), **WHERE)
    assert (event.event, event.test_run_id) == ("test_run.started", 456)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        ({"event": "test_run.started"}, "test_run.started"),
        ({"type": "some_thing.new"}, "some_thing.new"),
        ({"event_type": "test_run.queued"}, "test_run.queued"),
        ({"data": [{"eventName": "test_run.queued"}]}, "test_run.queued"),
        ({"event": {"type": "test_run.queued"}}, "test_run.queued"),
        ({"event": "test_run.started", "build": {"type": "app.web"}}, "test_run.started"),
        ({"event": "test_run.started", "events": ["webhook.test"]}, "test_run.started"),
        ({"topic": "webhook.test"}, "webhook.test"),
        (["webhook.test"], "webhook.test"),
        ("webhook.test", "webhook.test"),
        # in doubt
        ({"event": "test_run.started", "data": {"event": "test_run.queued"}}, None),
        ({"topic": "webhook.test", "other": "test_run.started"}, None),
        ({"file": "index.html", "host": "shop.example.com"}, None),
        ({"test_run.started": True}, None),
        ({"event": "started"}, None),
        ({"event": 7, "type": ["a"]}, None),
        ({"event": "Test run.started now"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_event_is_named_where_there_is_no_doubt(payload: Any, event: str | None) -> None:
    """A likely key decides, else a name of a kind that is known; two names are none."""
    assert read_webhook(*webhook(payload), **WHERE).event == event


@pytest.mark.parametrize(
    ("payload", "run"),
    [
        ({"test_run_id": 456}, 456),
        ({"testRunId": "456"}, 456),
        ({"data": {"test_run": {"id": 456, "state": "queued"}}}, 456),
        ({"test_run": 456}, 456),
        ({"run": {"id": 456}}, 456),
        ({"run-id": 456}, 456),
        ({"id": 3, "data": {"test_run": {"id": 456}}, "run_id": 99}, 456),
        ({"test_run_id": 456, "test_run": {"id": 456}}, 456),
        ({"tests": [{"run_id": 456}, {"run_id": 456}]}, 456),
        # in doubt
        ({"test_run": {"id": 456}, "old": {"test_run": {"id": 455}}}, None),
        ({"run_id": 456, "before": {"run_id": 455}}, None),
        ({"id": 456}, None),
        ({"event": "test_run.started", "data": {"id": 456}}, None),
        ({"rerun_source_id": 456}, None),
        ({"project_id": 7, "webhook_id": 8}, None),
        ({"test_run_id": True}, None),
        ({"test_run_id": 456.0}, None),
        ({"test_run_id": -1}, None),
        ({"test_run_id": 0}, None),
        ({"test_run_id": 1 << 63}, None),
        ({"test_run_id": "9" * 19}, None),
        ({"test_run_id": "4 5"}, None),
        ({"test_run_id": "\u0664"}, None),
        ({"test_run": {"id": {"id": 456}}}, None),
        ({"test_run": [456]}, None),
        (456, None),
    ],
)
def test_a_run_is_named_where_there_is_no_doubt(payload: Any, run: int | None) -> None:
    """Only a key that speaks of a run names one: an id alone may be that of anything."""
    assert read_webhook(*webhook(payload), **WHERE).test_run_id == run
