"""Faults look on the wire like the real thing, and act when they say."""

import contextlib
import socket
import time
from typing import Any

import httpx
import pytest

from empirical_provider.emulator import Emulator


def _trigger(http: httpx.Client, **options: Any) -> httpx.Response:
    return http.put("/api/test-runs", json={"environment": "staging"}, **options)


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        ("trigger", "PUT", "/api/test-runs"),
        ("list_test_runs", "GET", "/api/test-runs"),
        ("get_test_run", "GET", "/api/test-runs/1"),
        ("rerun_test_run", "POST", "/api/test-runs/1/re-run"),
        ("cancel_test_run", "POST", "/api/test-runs/1/cancel"),
        ("list_environments", "GET", "/api/environments/list"),
        ("get_project", "GET", "/api/projects/7"),
    ],
)
def test_a_fault_hits_its_endpoint_only(
    http: httpx.Client, empirical: Emulator, endpoint: str, method: str, path: str
) -> None:
    """Each endpoint can be hit by its name, which is also its name in the record."""
    empirical.fault(endpoint, "status", status=503)
    assert http.get("/").status_code == 200
    assert http.request(method, path).status_code == 503
    assert empirical.requests[-1].endpoint == endpoint
    assert http.request(method, path).status_code != 503


def test_a_status_carries_message_and_retry_after_verbatim(
    http: httpx.Client, empirical: Emulator
) -> None:
    """A status fault answers in the API's form, with the header as given."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    empirical.fault("trigger", "status", status=429, retry_after=date)
    empirical.fault("trigger", "status", status=402, message="An invoice is overdue.")
    first, second = _trigger(http), _trigger(http)
    assert (first.status_code, first.headers["retry-after"]) == (429, date)
    assert second.status_code == 402
    assert second.json() == {"error": {"message": "An invoice is overdue."}}
    assert empirical.runs == []


def test_a_status_without_a_body_has_none(http: httpx.Client, empirical: Emulator) -> None:
    """204 is answered as HTTP wants it."""
    empirical.fault("*", "status", status=204)
    answer = _trigger(http)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("effect", ["drop", "reset", "status", "malformed", "truncated", "html"])
def test_before_and_after_decide_whether_the_request_was_acted_on(
    http: httpx.Client, empirical: Emulator, effect: str, when: str, made: int
) -> None:
    """After really means after: the run exists although nobody was told."""
    empirical.fault("trigger", effect, when=when, status=500 if effect == "status" else None)
    try:
        assert "id" not in _trigger(http).text.replace('"id": 4', "")
    except httpx.TransportError:
        assert effect in ("drop", "reset", "truncated")
    assert len(empirical.runs) == made
    assert _trigger(http).status_code == 200


def test_a_drop_ends_the_connection_without_an_answer(
    http: httpx.Client, empirical: Emulator
) -> None:
    """A dropped request gets no byte, and the next one needs a new connection."""
    _trigger(http)
    before = empirical.connections
    empirical.fault("*", "drop")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        _trigger(http)
    assert empirical.connections == before
    assert _trigger(http).status_code == 200
    assert empirical.connections == before + 1


def test_malformed_json_cannot_be_read(http: httpx.Client, empirical: Emulator) -> None:
    """A malformed answer is a 200 that says JSON and is none."""
    empirical.fault("trigger", "malformed")
    answer = _trigger(http)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(ValueError, match="delimiter"):
        answer.json()


def test_a_reset_answer_ends_in_a_reset(http: httpx.Client, empirical: Emulator) -> None:
    """The connection is reset in the middle of the body, which is no orderly end."""
    empirical.fault("trigger", "reset")
    with pytest.raises(httpx.ReadError, match=r"[Rr]eset"):
        _trigger(http)
    assert empirical.runs == []


def test_a_truncated_answer_ends_too_early(http: httpx.Client, empirical: Emulator) -> None:
    """A truncated answer sends less than it promised."""
    empirical.fault("trigger", "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        _trigger(http)


def test_html_is_what_a_proxy_would_send(http: httpx.Client, empirical: Emulator) -> None:
    """An html answer is a 200 with a page."""
    empirical.fault("trigger", "html")
    answer = _trigger(http)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (200, "text/html")


def test_a_redirect_goes_where_it_is_told(http: httpx.Client, empirical: Emulator) -> None:
    """A redirect is a 302 with the message as its address."""
    empirical.fault("trigger", "redirect", message="https://elsewhere.example/x?a=b")
    answer = _trigger(http)
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://elsewhere.example/x?a=b"


def test_a_huge_answer_goes_on_and_on(http: httpx.Client, empirical: Emulator) -> None:
    """A huge answer sends more than 10 MB and can be left in the middle."""
    empirical.fault("trigger", "huge")
    got = 0
    with http.stream("PUT", "/api/test-runs", json={"environment": "staging"}) as answer:
        assert "content-length" not in answer.headers
        for part in answer.iter_raw():
            got += len(part)
            if got > 10 * 1024 * 1024:
                break
    assert got > 10 * 1024 * 1024
    assert _trigger(http).status_code == 200


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delay_answers_properly_but_late(
    http: httpx.Client, empirical: Emulator, when: str
) -> None:
    """A delayed answer is the proper one, after its time."""
    empirical.fault("trigger", "delay", delay=0.05, when=when)
    began = time.monotonic()
    assert _trigger(http).json()["data"]["test_run"]["id"] == 1
    assert time.monotonic() - began >= 0.05
    assert len(empirical.runs) == 1


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
def test_a_client_that_gives_up_during_a_delay(
    http: httpx.Client, empirical: Emulator, when: str, made: int
) -> None:
    """Who leaves before the delay is over was acted on only with when=after."""
    empirical.fault("trigger", "delay", delay=60, when=when)
    with pytest.raises(httpx.ReadTimeout):
        _trigger(http, timeout=httpx.Timeout(30, read=1))
    http.get("/api/test-runs")
    assert len(empirical.runs) == made


def test_a_delay_can_come_before_any_effect(http: httpx.Client, empirical: Emulator) -> None:
    """Other effects wait for their delay too."""
    empirical.fault("trigger", "status", status=504, delay=0.05)
    began = time.monotonic()
    assert _trigger(http).status_code == 504
    assert time.monotonic() - began >= 0.05


def test_times_counts_down_and_none_lasts(http: httpx.Client, empirical: Emulator) -> None:
    """A fault hits as often as it says; without a number until it is cleared."""
    empirical.fault("*", "status", status=500, times=2)
    assert [_trigger(http).status_code for _ in range(3)] == [500, 500, 200]
    empirical.fault("*", "status", status=500, times=None)
    assert {_trigger(http).status_code for _ in range(5)} == {500}
    empirical.clear_faults()
    assert _trigger(http).status_code == 200


def test_faults_hit_in_the_order_in_which_they_were_made(
    http: httpx.Client, empirical: Emulator
) -> None:
    """Of several faults that fit, the oldest comes first."""
    for status in (500, 502, 503):
        empirical.fault("*" if status == 502 else "trigger", "status", status=status)
    assert [_trigger(http).status_code for _ in range(4)] == [500, 502, 503, 200]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("triger", "drop"), {}, "trigger, list_test_runs"),
        (("trigger", "explode"), {}, "status, delay, drop"),
        (("trigger", "drop"), {"when": "during"}, "before, after"),
        (("trigger", "drop"), {"status": 500}, "status"),
        (("trigger", "status"), {}, "status"),
        (("trigger", "status"), {"status": 99}, "status"),
        (("trigger", "drop"), {"retry_after": "1"}, "retry_after"),
        (("trigger", "status"), {"status": 503, "retry_after": "1\r\nx: y"}, "retry_after"),
        (("trigger", "delay"), {}, "delay"),
        (("trigger", "delay"), {"delay": -1}, "delay"),
        (("trigger", "delay"), {"delay": float("nan")}, "delay"),
        (("trigger", "redirect"), {}, "message"),
        (("trigger", "drop"), {"message": "x"}, "message"),
        (("trigger", "drop"), {"times": 0}, "times"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    empirical: Emulator, arguments: tuple[str, str], options: dict[str, Any], message: str
) -> None:
    """A wrong fault raises ValueError that names what is wrong or allowed."""
    with pytest.raises(ValueError, match=message):
        empirical.fault(*arguments, **options)


def test_a_delay_does_not_hold_up_the_end() -> None:
    """An emulator ends at once although a client still waits for its answer."""
    request = b"GET /api/test-runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with Emulator() as emulator:
        emulator.fault("*", "delay", delay=600)
        port = int(emulator.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(request)
            while not emulator.requests:
                time.sleep(0.01)
            began = time.monotonic()
            emulator.stop()
            assert time.monotonic() - began < 30
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
