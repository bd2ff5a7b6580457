"""Secrets in responses: masked however they are written, in time, and not where a run is judged."""

from __future__ import annotations

import asyncio
import html
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empirical_provider import (
    EmpiricalClient,
    EmpiricalError,
    TestRun,
    TestRunRequest,
    TriggerRejectedError,
    Verdict,
    await_for_test_run,
    endpoints,
    trigger_test_run,
    wait_for_test_run,
)
from empirical_provider.decoding import from_json
from empirical_provider.outcomes import failure_of, result_of
from empirical_provider.polling import shared_client
from empirical_provider.receiving import MOST_OF_A_REFUSAL, Answer
from empirical_provider.settings import Settings
from tests.core.wire import Hostile, says, whole
from tests.leaking import leaks_of

if TYPE_CHECKING:
    import socket

    from tests.core.conftest import Twin

VALUE = "hush/hush&hush"
"""Nearly every writer of JSON, HTML or URLs writes it in another way."""

REQUEST = TestRunRequest(environment="staging", environment_variables_overrides={"TOKEN": VALUE})

letters = st.characters(max_codepoint=0x1F600, exclude_categories=["C", "Zl", "Zp", "Zs"])
several_words = st.lists(st.text(letters, min_size=2, max_size=6), min_size=3, max_size=4)
texts = (st.text(letters, min_size=8, max_size=20) | several_words.map(" ".join)).filter(
    lambda text: "***" not in text
)
random = st.randoms(use_true_random=False)


def settings(**given: Any) -> Settings:
    defaults: dict[str, Any] = {
        "api_key": "emp-key-5f1d0c7ab9",
        "base_url": None,
        "project_id": None,
        "project_slug": None,
        "dashboard_url": None,
        "timeout": None,
        "retry_for": 0,
    }
    return Settings.checked(**{**defaults, **given})


def written(text: str, random: Any) -> str:
    """Write a text as JSON, each character escaped or not, in any of the ways that JSON has."""
    said = ""
    for character in text:
        forms = [json.dumps(character, ensure_ascii=False)[1:-1]]
        units = character.encode("utf-16-be").hex()
        escape = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        forms += [escape, escape.upper().replace("\\U", "\\u")]
        forms += ["\\/"] if character == "/" else []
        said += random.choice(forms)
    return f'"{said}"'


@given(secret=texts, around=st.text(max_size=5), random=random)
def test_no_result_holds_a_secret_in_any_escape(secret: str, around: str, random: Any) -> None:
    """Whichever characters a service escapes, the text that is read has no secret in it."""
    said = f"{around}{secret}{around}".encode("utf-8", "replace").decode()
    body = f'{{"data": [{written(said, random)}, {{{written(said, random)}: 1}}]}}'
    for given_ in ({"secrets": [secret]}, {"values": [secret]}):
        found = from_json(body.encode(), **given_)
        [text, names] = found["data"]
        assert secret not in text
        assert "***" in text
        assert secret not in next(iter(names)) or "values" in given_


@given(secret=texts, random=random)
@example(secret="\\u0026 & more", random=None)
def test_no_error_holds_a_secret_in_any_escape(secret: str, random: Any) -> None:
    """Nor has the quote of an error, of JSON that is whole, cut, or inside of other JSON, or of
    HTML, or of a URL."""
    json_text = json.dumps(secret) if random is None else written(secret, random)
    request = TestRunRequest(environment="e", environment_variables_overrides={"A": secret})
    for body in (
        f'{{"detail": {json_text}}}',
        f'{{"detail": {json_text}, "more',
        json.dumps({"message": f'{{"token": {json_text}}}'}),
        f"<p>{html.escape(secret)}</p>",
        f"<p>{''.join(f'&#x{ord(each):X};' for each in secret)}</p>",
        f"<a href='/?token={quote(secret, safe='')}'>",
    ):
        with pytest.raises(EmpiricalError) as error:
            result_of(settings(), endpoints.trigger(request), Answer(422, {}, body.encode()))
        assert secret not in str(error.value)
        assert "***" in str(error.value)
        # A writer's own form of it is no better than the secret.
        told = str(error.value)
        assert secret not in html.unescape(told)
        assert json_text.strip('"') not in told


@pytest.mark.parametrize(
    ("secrets", "said", "told"),
    [
        (["abcdefgh", "efghijkl"], "abcdefghijkl.", "***."),
        (["abcdefgh", "efghijkl"], "abcdefghefghijkl", "***" * 2),
        (["abcabcab"], "abcabcabcab", "***"),
        (["abcdefgh", "cdef-xyz"], "abcdefgh cdef-xyz", "*** ***"),
        (["abcdefgh", "bcdefg--"], "abcdefg--", "a***"),
        (["&&&&&&&&"], "&&&&&&&&&&&", "***"),
    ],
)
def test_secrets_that_overlap_leave_no_piece(secrets: list[str], said: str, told: str) -> None:
    """Of secrets that run into one another nothing is left, whichever is found first."""
    for order in (1, -1):
        assert from_json(json.dumps([said]).encode(), secrets[::order]) == [told]


def many(count: int, said: str) -> bytes:
    """Return as many small values as a large run has, with a text at the end."""
    return json.dumps([{"a": "b"}] * count + [{"a": said}]).replace("&", r"\u0026").encode()


@pytest.mark.parametrize("overrides", [1, 50])
def test_masking_takes_about_as_long_as_reading(overrides: int) -> None:
    """Many small values, of which one says the secret, take little more time than to read them,
    with 50 overrides as well. By the time of the processor, which other tests take nothing of."""
    body = many(40_000, VALUE)
    secrets = [VALUE, *(f"another-value-{number}" for number in range(overrides - 1))]

    def taken(*secrets: str) -> float:
        began = time.process_time()
        found = from_json(body, secrets)
        assert found[-1]["a"] == ("***" if secrets else VALUE)
        return time.process_time() - began

    assert min(taken(*secrets) for _ in range(3)) < 5 * min(taken() for _ in range(3))


KEPT = [
    ("state", "cancelled"),
    ("created_at", "2026-11-30"),
    ("commit", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"),
    ("commit", "0f1e2d3c"),
    ("name", "metadata"),
    ("name", "test_run"),
    ("name", "failed_count"),
    ("status", "timedOut"),
    ("status", "unexpected"),
    ("slug", "acme-webshop"),
]


@pytest.mark.parametrize(("field", "value"), KEPT)
def test_what_a_run_is_judged_by_is_not_masked(field: str, value: str) -> None:
    """An override that is called like a state, a day, a commit, a field or a project hides none."""
    row = {
        "id": 5,
        "state": "cancelled",
        "created_at": "2026-11-30T10:00:00.000Z",
        "commit": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
        "failed_count": 1,
        "metadata": {"x": "y"},
    }
    tests = [{"status": word, "nesting": ["a"]} for word in ("timedOut", "unexpected")]
    inner = {"testRun": row, "project": {"slug": "acme-webshop"}, "flattenedSummaryDetails": tests}
    answer = Answer(200, {}, json.dumps({"data": {"test_run": inner}}).encode())
    call = endpoints.get_test_run(5)
    assert result_of(settings(secrets=[value]), call, answer) == result_of(settings(), call, answer)
    hidden = {"data": {"test_run": {**inner, "testRun": {**row, "error_code": f"of {value}!"}}}}
    read = result_of(settings(secrets=[value]), call, Answer(200, {}, json.dumps(hidden).encode()))
    assert read.error_code == "of ***!", field


# What a wait makes known


def failed_run(shown: str) -> dict[str, Any]:
    row = {
        "id": 456,
        "state": "ended",
        "total_count": 2,
        "failed_count": 1,
        "failed_count_after_snoozing": 1,
        "error_code": f"code {shown}",
        "environment_slug": "staging",
    }
    tests = [
        {"name": "b", "status": "failed", "nesting": ["a.spec.ts", f"signs in with {shown}"]},
        {"name": "b", "status": "passed", "nesting": ["a.spec.ts", "b"]},
    ]
    project = {"slug": "acme"}
    return {"data": {"test_run": {"testRun": row, "project": project, **rows(tests)}}}


def rows(tests: list[dict[str, Any]]) -> dict[str, Any]:
    return {"flattenedSummaryDetails": tests}


@pytest.fixture(params=[VALUE, quote(VALUE, safe=""), html.escape(VALUE)])
def service(request: pytest.FixtureRequest) -> Any:
    """Return a service that repeats the value of an override in all that it says of a run; the
    first time that the run is read it fails, with the value in its words."""
    shown = request.param
    failures = [1]

    def play(connection: socket.socket) -> None:
        asked = server.requests[-1].split(b"\r\n", 1)[0]
        if asked.startswith(b"PUT"):
            now = datetime.now(UTC).isoformat()  # an older run would not be the one just started
            run = {"id": 456, "state": "queued", "created_at": now}
            body = {"data": {"trigger": {"success": True}, "test_run": run}}
        elif failures:
            failures.pop()
            page = whole(f"<p>{shown}</p>".encode(), status="HTTP/1.1 503 Away")
            connection.sendall(page)
            return
        else:
            body = failed_run(shown)
        connection.sendall(whole(json.dumps(body).replace("/", "\\/").encode()))

    with Hostile(play) as server:
        yield server


def all_told(verdict: Verdict, caplog: pytest.LogCaptureFixture) -> str:
    return f"{json.dumps(verdict.as_dict())} {verdict.error()} {caplog.text} {verdict!r}"


def says_no_value(told: str) -> bool:
    return not any(
        each in told for each in (VALUE, quote(VALUE, safe=""), html.escape(VALUE), "hush")
    )


def test_a_wait_knows_the_values_of_a_run_that_its_client_has_started(
    service: Hostile, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Titles, error codes and errors of polls are in no verdict, error or log with a value."""
    caplog.set_level("DEBUG", logger="empirical_provider")
    with EmpiricalClient(api_key=api_key, base_url=service.url) as client:
        client._sleep = lambda _: None
        run = trigger_test_run(client, REQUEST)
        verdict = wait_for_test_run(client, run.id)
        assert says_no_value(repr(client.get_test_run(run.id)))
    assert verdict.failed_tests == ("a.spec.ts > signs in with ***",)
    assert "503" in caplog.text
    assert says_no_value(all_told(verdict, caplog))


def test_a_wait_knows_the_values_that_its_client_was_told(
    service: Hostile, ask: Twin, caplog: pytest.LogCaptureFixture
) -> None:
    """So it is for a client that has started nothing, and is told what to mask."""
    caplog.set_level("DEBUG", logger="empirical_provider")
    ask.settings |= {"base_url": service.url, "secrets": [VALUE]}
    verdict = ask.wait_for_test_run(456)
    assert verdict.error_code == "code ***"
    assert says_no_value(all_told(verdict, caplog))


def test_waits_that_share_a_client_know_each_others_values(
    service: Hostile, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One poll for many waits masks the values of them all."""
    caplog.set_level("DEBUG", logger="empirical_provider")
    common = {"api_key": api_key, "base_url": service.url, "retry_for": 0}

    async def wait(*secrets: str) -> Verdict:
        async with shared_client(456, **common, secrets=secrets) as client:
            return await await_for_test_run(client, 456, poll_interval=0.01)

    async def both() -> list[Verdict]:
        return await asyncio.gather(wait(), wait(VALUE))

    for verdict in asyncio.run(both()):
        assert says_no_value(all_told(verdict, caplog))


def test_a_client_that_starts_runs_without_end_keeps_few_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it masks does not grow for ever: the newest are kept."""
    monkeypatch.setattr("empirical_provider.base_client._MOST_SECRETS", 3)
    with EmpiricalClient(api_key="key", base_url="http://127.0.0.1:1") as client:
        for number in range(9):
            overrides = {"A": f"value-{number}", "B": "value-b"}
            client._mask(TestRunRequest(environment="e", environment_variables_overrides=overrides))
        assert client._settings.secrets == ("value-7", "value-8", "value-b")


@pytest.mark.parametrize(
    "secrets", ["hush-hush", None, 5, [b"hush-hush"], ["hush-hush", None], {"hush-hush": 5}.items()]
)
def test_secrets_that_are_no_texts_are_refused(secrets: Any, api_key: str) -> None:
    """They are refused by name, and not repeated."""
    with pytest.raises(EmpiricalError, match="secrets must be a list of strings") as error:
        EmpiricalClient(api_key=api_key, secrets=secrets)
    assert leaks_of(error.value, ["hush-hush"]) == []


# What goes along with an error


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 2OO %s",
        b"HTTP/1.1 200 OK\r\n%s",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s",
        b"%s",
    ],
)
@pytest.mark.parametrize("value", ["hush-hush", "né-hush-hush", "hush'hush\"hush", "hush\\hush"])
def test_no_cause_holds_a_piece_of_a_response(line: bytes, value: str, ask: Twin) -> None:
    """What an HTTP library quotes of a response, escaped and cut, is in no error and no cause."""
    ask.settings["retry_for"] = 0
    said = line % value.encode() + b"\r\n\r\n"
    request = TestRunRequest(environment="e", environment_variables_overrides={"A": value})
    with Hostile(says(said)) as server:
        ask.settings["base_url"] = server.url
        with pytest.raises(EmpiricalError) as error:
            ask("trigger", request)
    assert leaks_of(error.value, [value, "hush"]) == []


def test_an_error_of_a_library_is_told_without_what_it_quotes() -> None:
    """Its own words stay, so that one can tell what went wrong."""
    call = endpoints.get_test_run(5)
    for words, told in (
        ("illegal status line: bytearray(b'HTTP/1.1 hush')", "(RemoteProtocolError: illegal st"),
        ("Server disconnected without sending a response.", "Server disconnected without send"),
    ):
        error = failure_of(settings(), call, httpx.RemoteProtocolError(words))
        assert told in str(error)
        assert "hush" not in f"{error} {error.__cause__} {error.__cause__!r}"


def test_a_rejection_keeps_nothing_of_the_run_in_its_cause() -> None:
    """The run that a rejection names is in the error by its id; its texts do not go along."""
    run = {"id": 5, "state": "error", "error_code": "not-for-trackers"}
    body = json.dumps({"data": {"trigger": {"success": False}, "test_run": run}}).encode()
    with pytest.raises(TriggerRejectedError) as error:
        result_of(settings(), endpoints.trigger(REQUEST), Answer(200, {}, body))
    assert error.value.run_id == 5
    for cause in (error.value.__cause__, error.value.__context__):
        assert not any(isinstance(each, TestRun) for each in vars(cause or error.value).values())
        assert "not-for-trackers" not in f"{vars(cause or 0) if cause else ''}"


@pytest.mark.parametrize("form", [VALUE, quote(VALUE, safe=""), VALUE.replace("/", "\\/")])
@pytest.mark.parametrize("status", [200, 422, 500])
def test_no_secret_is_cut_in_its_middle(form: str, status: int) -> None:
    """Only so much of a response is quoted; where it ends, no piece of a secret is left over."""
    for kept in range(1, len(form) + 1):
        body = b" " * (MOST_OF_A_REFUSAL - kept) + f"{form} and more".encode()
        if status != 200:
            body = body[:MOST_OF_A_REFUSAL]
        with pytest.raises(EmpiricalError) as error:
            result_of(settings(), endpoints.trigger(REQUEST), Answer(status, {}, body))
        assert "hush" not in str(error.value), kept


@pytest.mark.parametrize("before", range(480, 505))
def test_no_secret_is_cut_where_a_quote_ends(before: int) -> None:
    """Nor where the quote of an error ends."""
    body = json.dumps({"message": f"{'x' * before}{VALUE}"}).encode()
    with pytest.raises(EmpiricalError) as error:
        result_of(settings(), endpoints.trigger(REQUEST), Answer(422, {}, body))
    assert "hus" not in str(error.value)
