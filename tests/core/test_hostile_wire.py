"""Both clients against servers that keep to no rule of HTTP: errors of ours, in time, in bounds."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest
import trustme

from empirical_provider import (
    EmpiricalError,
    TestRunRequest,
    TriggerOutcomeUnknownError,
    deadlines,
)
from tests.core.conftest import Twin
from tests.core.wire import GREEN, PLAYS, RUN, Hostile, endless, head, says, whole

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

SHORT = {"connect": 30.0, "trigger": 0.3, "other": 0.3}
"""Little time for an answer. The connection has more: nobody plays a trick there."""

AT_MOST = 30.0
"""Seconds after which it has not kept its time-out, also on a machine that stalls for a while: a
trick without end goes on for longer."""

STAGING = TestRunRequest(environment="staging", environment_variables_overrides={"A": "hush-hush"})


@pytest.fixture(params=["sync", "async"])
def twin(request: pytest.FixtureRequest, api_key: str) -> Twin:
    """Return either client, which takes what it gets as it is."""
    return Twin(request.param, api_key=api_key, retry_for=0)


@pytest.fixture
def impatient(twin: Twin) -> Twin:
    """Return the client with little time for an answer: also a good one may come too late."""
    twin.settings["timeout"] = SHORT
    return twin


def trick(
    twin: Twin,
    play: Callable[[socket.socket], object],
    *asked: Any,
    context: ssl.SSLContext | None = None,
) -> EmpiricalError:
    """Ask a server that plays a trick; return the error, which must come in time."""
    with Hostile(play, context) as server:
        twin.settings["base_url"] = server.url
        began = time.monotonic()
        with pytest.raises(EmpiricalError) as error:
            twin(*asked)
        assert time.monotonic() - began < AT_MOST
    assert twin.settings["api_key"] not in f"{error.value!r} {error.value.__cause__!r}"
    return error.value


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_no_trick_gets_an_answer_believed(
    play: Callable[[socket.socket], object], impatient: Twin
) -> None:
    """Whatever comes over the wire in the place of an answer is an error of ours within the
    time-out, although the green answer is in most of it; and a run may have been started."""
    trick(impatient, play, "get_test_run", 456)
    error = trick(impatient, play, "trigger", STAGING)
    refused = error.status is not None and not 200 <= error.status < 300
    assert refused or type(error) is TriggerOutcomeUnknownError


def test_the_same_answer_without_a_trick_is_believed(twin: Twin) -> None:
    """The server above is one that can be understood: its tricks are what is refused."""
    with Hostile(says(whole(GREEN))) as server:
        twin.settings["base_url"] = server.url
        assert twin("get_test_run", 456).state == "ended"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place", ["{other}", "{other}/api/test-runs/456", "//[", "http://", "\xff", "/", ""]
)
def test_no_redirect_leads_elsewhere(status: int, place: str, twin: Twin) -> None:
    """Wherever a redirect points to, and be it to nowhere, nobody else hears of the request."""
    with Hostile(says(whole(GREEN))) as other:
        location = f"Location: {place.format(other=other.url)}"
        trick(
            twin, says(whole(GREEN, location, status=f"HTTP/1.1 {status} X")), "get_test_run", 456
        )
        assert other.requests == []


def test_each_answer_has_the_whole_time(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection lives on: what one answer has taken is not taken from the next one."""
    states, passed = ["queued"] * 5 + ["ended"], 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + passed

    monkeypatch.setattr(deadlines, "time", Clock)

    def takes_its_time(connection: socket.socket) -> None:
        nonlocal passed
        body = json.dumps({"data": {"test_run": {**RUN, "state": states.pop(0)}}}).encode()
        passed += 15.0
        connection.sendall(whole(body))

    with Hostile(takes_its_time) as server:
        twin.settings |= {"base_url": server.url, "timeout": 60.0}
        assert twin.wait_for_test_run(456).outcome == "passed"
    assert (server.connections, len(server.requests)) == (1, 6)


@pytest.mark.parametrize("play", ["a bomb, gzip", "compressed, br", "compressed, said, not so"])
def test_what_is_compressed_is_not_read(play: str, twin: Twin) -> None:
    """A compressed body is refused by its header, before any of it is taken in."""
    error = trick(twin, PLAYS[play], "get_test_run", 456)
    assert "the body is compressed, although plain text was asked for" in str(error)


def test_an_answer_that_was_not_asked_for_is_no_answer_to_the_next_request(twin: Twin) -> None:
    """A server that says two answers at once has the second one taken for no other run."""
    first = json.dumps({"data": {"environments": []}}).encode()

    def both(connection: socket.socket) -> None:
        connection.sendall(whole(first) + whole(GREEN))

    with Hostile(both) as server:
        twin.settings["base_url"] = server.url

        if twin.kind == "sync":

            def ask(client: Any) -> None:
                assert client.list_environments() == []
                with pytest.raises(EmpiricalError, match="test run 456 instead of 7"):
                    client.get_test_run(7)

            twin._sync(ask)
        else:

            async def aask(client: Any) -> None:
                assert await client.list_environments() == []
                with pytest.raises(EmpiricalError, match="test run 456 instead of 7"):
                    await client.get_test_run(7)

            asyncio.run(twin._async(aask))


def test_a_wait_survives_what_cannot_be_believed(twin: Twin) -> None:
    """A wait goes on when a run has impossible counts, or another id, and ends when it has not."""
    lies = [{**RUN, "success_count": 6}, {**RUN, "failed_count_after_snoozing": -1}]
    lies += [{**RUN, "id": 457}, {**RUN, "total_count": "5"}]
    answers = [json.dumps({"data": {"test_run": each}}).encode() for each in (*lies, RUN)]

    def one_by_one(connection: socket.socket) -> None:
        connection.sendall(whole(answers.pop(0)))

    with Hostile(one_by_one) as server:
        twin.settings["base_url"] = server.url
        verdict = twin.wait_for_test_run(456)
    assert (verdict.outcome, len(twin.slept)) == ("passed", len(lies))


def test_a_wait_for_an_inconsistent_response_ends_closed(twin: Twin) -> None:
    """A run whose counts stay impossible for a minute closes the gate, and the summary says why; a
    policy that passes errors and runs without tests does not open it."""
    body = json.dumps({"data": {"test_run": {**RUN, "total_count": -1}}}).encode()
    with Hostile(says(whole(body, "Connection: close"))) as server:
        twin.settings["base_url"] = server.url
        policy = {"error": "pass", "no_tests": "pass", "failed": "pass"}
        verdict = twin.wait_for_test_run(456, timeout=60, policy=policy)
    assert (verdict.outcome, verdict.is_closed) == ("error", True)
    assert "it ended, but its total_count is no number of tests" in verdict.summary
    assert sum(twin.slept) == pytest.approx(60)


def test_a_trickle_in_tls_ends_in_time(
    impatient: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time-out counts for a whole answer over TLS, too."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    for play in ("headers a byte at a time", "interim answers, slowly", "a body a byte at a time"):
        trick(impatient, PLAYS[play], "get_test_run", 456, context=context)


MEASURED = """
import re, sys
from pathlib import Path
from empirical_provider import EmpiricalClient, EmpiricalError

def most():  # getrusage would tell of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

client = EmpiricalClient(api_key="key", base_url=sys.argv[1], timeout=100, retry_for=0)
try:
    client.get_test_run(456)
except EmpiricalError:
    pass
before = most()
for _ in range(3):
    try:
        client.get_test_run(7)
    except EmpiricalError as error:
        print(type(error).__name__, most() - before)
"""
MEGABYTE = 1024


def growth(play: Callable[[socket.socket], object]) -> int:
    """Return by how many KB a process grew that read such an answer three times."""
    played = [says(whole(GREEN, "Connection: close"))]

    def first_a_good_one(connection: socket.socket) -> object:
        return (played.pop() if played else play)(connection)

    with Hostile(first_a_good_one) as server:
        told = subprocess.run(
            [sys.executable, "-c", MEASURED, server.url], check=True, capture_output=True, text=True
        )
    lines = [line.split() for line in told.stdout.splitlines()]
    assert [kind for kind, _ in lines] == ["UnreadableAnswerError"] * 3
    return int(lines[-1][1])


MOSTLY = 10_000_000


@pytest.mark.seconds
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is Linux that tells")
@pytest.mark.parametrize(
    ("play", "megabytes"),
    [
        (endless(head(), b" " * 60_000), 45),
        (endless(head("Transfer-Encoding: chunked"), b"ea60\r\n" + b" " * 60_000 + b"\r\n"), 45),
        (PLAYS["a bomb, gzip"], 5),
        (says(whole(b"[" + b'{"":0},' * (MOSTLY // 7) + b"0]")), 60),
        (says(whole(b"[" + b"[]," * (MOSTLY // 3) + b"0]")), 60),
        (says(whole(b"[" * MOSTLY)), 60),
        (says(whole(b"[" + b"1.5," * (MOSTLY // 4) + b"0]")), 60),
        (says(whole(b"[" + b'"ab",' * (MOSTLY // 5) + b"0]")), 60),
        (says(whole(b'{"' + "\U0001f600".encode() + b"x" * MOSTLY + b'":0}')), 170),
        (says(whole(b"[" + b'{"":0},' * 299_998 + b"0]")), 100),
    ],
    ids=[
        *("without end", "chunks without end", "a bomb", "objects", "arrays", "deep"),
        *("numbers", "texts", "wide characters", "as many objects as are read"),
    ],
)
def test_memory_is_bounded(
    play: Callable[[socket.socket], object], megabytes: int, record_property: Any
) -> None:
    """A client that reads a gigabyte, or 10 MB that would unfold to many times that, stays small:
    three such answers take it no further than one."""
    grown = growth(play) / MEGABYTE
    record_property("grown by MB", round(grown))
    print(f"\ngrown by {grown:.0f} MB, of {megabytes} at most")  # noqa: T201  # make fuzz shows it
    assert grown < megabytes


def test_cookies_are_not_kept(twin: Twin) -> None:
    """What a server has a client remember is not sent back to it, and takes no memory."""
    states = ["queued", "started", "ended"]

    def with_cookie(connection: socket.socket) -> None:
        body = json.dumps({"data": {"test_run": {**RUN, "state": states.pop(0)}}}).encode()
        connection.sendall(whole(body, "Set-Cookie: session=1; Path=/"))

    with Hostile(with_cookie) as server:
        twin.settings["base_url"] = server.url
        assert twin.wait_for_test_run(456).outcome == "passed"
    assert len(server.requests) == 3
    assert not any(b"cookie" in request.lower() for request in server.requests)


@pytest.mark.parametrize("kind", [httpx.Client, httpx.AsyncClient])
@pytest.mark.parametrize("proxy", [False, True])
def test_httpx_that_has_changed_inside_is_told(
    kind: type[httpx.Client | httpx.AsyncClient], proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nothing to put the limit of a whole response into, a warning says so."""
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "example.com")
    backends = (httpcore.NetworkBackend, httpcore.AsyncNetworkBackend)

    def changed(where: str) -> httpx.Client | httpx.AsyncClient:
        client = kind()
        if where == "transport":
            del client._transport
        elif where == "mounts":
            del client._mounts
        else:
            # Of a proxy, where there is one: each of the pools counts.
            transport = next(filter(None, client._mounts.values()), client._transport)
            pool = transport._pool
            assert isinstance(pool._network_backend, backends)
            if where == "pool":
                del transport._pool
            elif where == "backend":
                del pool._network_backend
            else:
                pool._network_backend = object()
        return client

    for where in ("transport", "mounts", "pool", "backend", "another backend"):
        with pytest.warns(RuntimeWarning, match="is not known inside: a time-out limits each read"):
            deadlines.answers_in_time(changed(where))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = deadlines.answers_in_time(kind())
    for transport in (client._transport, *filter(None, client._mounts.values())):
        assert type(transport._pool._network_backend).__module__ == deadlines.__name__
