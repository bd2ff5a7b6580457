"""Neither the key nor an override's value is in what trackers, logs, spans and dumps take of us."""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import logging
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import empirical_provider
from empirical_provider import (
    EmpiricalClient,
    EmpiricalError,
    EnvironmentVariable,
    InvalidRequestError,
    TestRunRequest,
    TriggerOnce,
    trigger_test_run,
)
from empirical_provider.base_client import settings_of
from empirical_provider.endpoints import trigger
from empirical_provider.hiding import Secret
from empirical_provider.receiving import Answer
from tests.leaking import leaks_of

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
    from tests.core.conftest import Twin

VALUE = "override-value-77aa01"
OVERRIDES = {"TOKEN": VALUE, "OTHER": f"{VALUE}\nsecond line"}


def request(**fields: Any) -> TestRunRequest:
    given = {"environment": "staging", "environment_variables_overrides": dict(OVERRIDES)}
    return TestRunRequest(**{**given, **fields})


def caught(call: Callable[[], Any]) -> EmpiricalError:
    with pytest.raises(EmpiricalError) as error:
        call()
    return error.value


def test_the_search_finds_planted_leaks(empirical: Emulator, api_key: str) -> None:
    """A secret in a local, in a cause's frame or in a cause's request is found by the search."""
    source = "def plant(secret):\n    headers = [secret]\n    raise ValueError(1)"
    scope: dict[str, Any] = {"__name__": "planted"}
    exec(source, scope)  # noqa: S102  # a frame that is none of the tests'
    with pytest.raises(ValueError, match="1") as cause:
        scope["plant"](VALUE)
    outer = RuntimeError()
    outer.__cause__ = cause.value
    assert leaks_of(outer, [VALUE]) == ["planted.plant: secret", "planted.plant: headers"]
    empirical.fault("trigger", "drop")
    with (
        httpx.Client(headers={"Authorization": f"Bearer {api_key}"}) as plain,
        pytest.raises(httpx.HTTPError) as bare,
    ):
        plain.put(f"{empirical.url}/api/test-runs", json={"value": VALUE})
    assert any(place.startswith("httpx.") for place in leaks_of(bare.value, [VALUE]))
    assert any(place.endswith(".request") for place in leaks_of(bare.value, [api_key]))


FAULTS: list[tuple[str, dict[str, Any]]] = [
    *(("status", {"status": status}) for status in (400, 401, 402, 403, 404, 408, 422, 429, 500)),
    ("drop", {}),
    ("drop", {"when": "after"}),
    ("reset", {}),
    ("malformed", {"when": "after"}),
    ("truncated", {"when": "after"}),
    ("html", {"when": "after"}),
    ("redirect", {"message": "https://evil.example/"}),
    ("huge", {}),
]


@pytest.mark.parametrize(("effect", "options"), FAULTS, ids=[f"{a}-{b}" for a, b in FAULTS])
@pytest.mark.parametrize("endpoint", ["trigger", "list_environments"])
def test_a_failed_exchange_leaves_no_secret_in_any_frame(
    endpoint: str, effect: str, options: dict[str, Any], empirical: Emulator, ask: Twin
) -> None:
    """Whatever goes wrong on the wire, no local of any frame and no cause holds a secret."""
    ask.settings["retry_for"] = 0
    options = dict(options)
    if effect == "status":
        echo = f"echo of {ask.settings['api_key']}"
        options["message"] = f"{echo} and {VALUE}" if endpoint == "trigger" else echo
    empirical.fault(endpoint, effect, times=None, **options)
    call = {
        "trigger": lambda: ask("trigger", request()),
        "list_environments": lambda: ask("list_environments"),
    }[endpoint]
    assert leaks_of(caught(call), [ask.settings["api_key"], VALUE]) == []


def test_no_connection_leaves_no_secret_in_any_frame(ask: Twin) -> None:
    """Nor where nobody listens."""
    ask.settings |= {"base_url": "http://127.0.0.1:1", "retry_for": 0}
    error = caught(lambda: ask("trigger", request()))
    assert leaks_of(error, [ask.settings["api_key"], VALUE]) == []
    assert isinstance(error.__cause__, httpx.ConnectError)


def test_a_refused_and_a_lost_start_leave_none(empirical: Emulator, ask: Twin) -> None:
    """A run that is refused in a 2xx answer, and one of which nobody can tell, by a key or not."""
    secrets = [ask.settings["api_key"], VALUE]
    empirical.script("staging", "rejected", error_code="merge_conflict")
    assert leaks_of(caught(lambda: ask("trigger", request())), secrets) == []
    empirical.fault("trigger", "drop", when="after", times=None)
    assert leaks_of(caught(lambda: ask("trigger", request())), secrets) == []
    keyed = caught(lambda: ask.trigger_test_run(request(), key=TriggerOnce(key="r", grace=0.1)))
    assert leaks_of(keyed, secrets) == []


@pytest.mark.parametrize("shape", ["id", "state", "envelope"])
def test_an_answer_that_echoes_overrides_and_cannot_be_read_leaves_none(
    shape: str, ask: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may repeat overrides, also of others: neither words nor frames have them."""
    row = {"id": 5, "environment_variables_overrides": [{"name": "T", "value": VALUE}]}
    data: Any = {"test_run": {"testRun": row}}
    if shape == "id":
        row["id"] = "five"
    elif shape == "state":
        data["test_run"]["testRun"] = [row]
    else:
        data = [data]
    answer = httpx.Response(200, json={"data": data})

    async def asend(*_: Any, **__: Any) -> httpx.Response:
        return answer

    monkeypatch.setattr(httpx.Client, "send", lambda *_, **__: answer)
    monkeypatch.setattr(httpx.AsyncClient, "send", asend)
    monkeypatch.setattr(httpx.Response, "iter_raw", lambda _: iter([answer.content]))

    async def araw(_: Any) -> Any:
        yield answer.content

    monkeypatch.setattr(httpx.Response, "aiter_raw", araw)
    error = caught(lambda: ask("get_test_run", 5))
    assert '"value":"***"' in str(error).replace(": ", ":")  # httpx 0.27 writes JSON with a blank
    assert leaks_of(error, [VALUE]) == []


def test_an_answer_that_breaks_off_leaves_no_piece_of_it(
    ask: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come of an answer before the connection broke is in no frame of the error."""
    answer = httpx.Response(200)

    async def asend(*_: Any, **__: Any) -> httpx.Response:
        return answer

    def pieces(_: Any) -> Any:
        yield VALUE.encode()
        raise httpx.ReadError("it broke")

    async def apieces(_: Any) -> Any:
        yield VALUE.encode()
        raise httpx.ReadError("it broke")

    monkeypatch.setattr(httpx.Client, "send", lambda *_, **__: answer)
    monkeypatch.setattr(httpx.AsyncClient, "send", asend)
    monkeypatch.setattr(httpx.Response, "iter_raw", pieces)
    monkeypatch.setattr(httpx.Response, "aiter_raw", apieces)
    ask.settings["retry_for"] = 0
    error = caught(lambda: ask("get_test_run", 5))
    assert "it broke" in str(error)
    assert leaks_of(error, [VALUE]) == []


@pytest.mark.seconds
def test_a_request_that_cannot_be_written_leaves_no_piece_of_it(ask: Twin) -> None:
    """Where nobody reads what is sent, the frames of the HTTP library hold it: none is left."""
    with socket.create_server(("127.0.0.1", 0)) as nobody_reads:
        ask.settings["base_url"] = f"http://127.0.0.1:{nobody_reads.getsockname()[1]}"
        ask.settings["timeout"] = 0.3
        large = {"LARGE": VALUE + "x" * 2**24}
        error = caught(lambda: ask("trigger", request(environment_variables_overrides=large)))
    assert "WriteTimeout" in str(error)
    assert leaks_of(error, [VALUE, ask.settings["api_key"]]) == []


BAD_REQUESTS: list[dict[str, Any]] = [
    {"environment": ""},
    {"tags": "@a"},
    {"build": {"x": 1}},
    {"build": {"version": "1"}, "branch": "b"},
    {"environment_variables_overrides": [{"name": "T", "value": VALUE}] * 2},
    {"environment_variables_overrides": [{"name": "T", "value": VALUE, "more": VALUE}]},
    {"environment_variables_overrides": [{"name": "", "value": VALUE}]},
    {"environment_variables_overrides": {"T": f"{VALUE}\ud800"}},
    {"environment_variables_overrides": {"A": VALUE, "B": 5}},
    {"environment_variables_overrides": f"T={VALUE}"},
    {"environment_variables_overrides": [f"T={VALUE}"]},
    {"environment_variables_overrides": [EnvironmentVariable(name="", value=VALUE)]},
    {"environment_variables_overrides": (each for each in [{"name": "\n", "value": VALUE}])},
]


@pytest.mark.parametrize("fields", BAD_REQUESTS, ids=str)
def test_a_refused_request_leaves_no_override_in_any_frame(fields: dict[str, Any]) -> None:
    """A request that is refused over any field has no override's value in a frame of ours."""
    assert leaks_of(caught(lambda: request(**fields)), [VALUE]) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "KEY with a space"},
        {"api_key": "KEY\n"},
        {"api_key": "KEY\ud800"},
        {"base_url": "http://KEY.example"},
        {"project_id": "7"},
        {"project_slug": ".."},
        {"dashboard_url": "javascript:1"},
        {"timeout": 0},
        {"timeout": {"conect": 1}},
        {"retry_for": -1},
        {"ca_bundle": "/nowhere/KEY.pem"},
    ],
    ids=lambda each: next(iter(each)),
)
@pytest.mark.parametrize("from_environment", [False, True])
def test_a_refused_setting_leaves_no_key_in_any_frame(
    from_environment: bool,
    settings: dict[str, Any],
    api_key: str,
    ask: Twin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that is refused over any setting has no key in a frame of ours."""
    if "api_key" in settings:
        settings = {"api_key": settings["api_key"].replace("KEY", api_key)}
    ask.settings = {"api_key": api_key, **settings}
    if from_environment and "\ud800" not in ask.settings["api_key"]:
        monkeypatch.setenv("EMPIRICALRUN_KEY", ask.settings.pop("api_key"))
    error = caught(lambda: ask("list_environments"))
    assert isinstance(error, InvalidRequestError)
    assert leaks_of(error, [api_key]) == []


@pytest.mark.parametrize(
    "proxy",
    ["foo://user:hush-proxy@h", "socks5://user:hush-proxy@h:1"],
)
def test_a_bad_proxy_is_told_without_its_credentials(
    proxy: str, ask: Twin, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment that nobody can use is one of our errors, and says where."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    ask.settings["base_url"] = "https://dash.empirical.run"
    error = caught(lambda: ask("list_environments"))
    assert "HTTPS_PROXY" in str(error)
    error.__context__ = None  # httpx's own: it is suppressed
    assert leaks_of(error, ["hush-proxy", api_key]) == []


def test_certificates_that_are_none_are_told(
    ask: Twin, api_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says about certificates is checked like an argument, and named."""
    (tmp_path / "authorities.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    ask.settings["base_url"] = "https://dash.empirical.run"
    error = caught(lambda: ask("list_environments"))
    assert isinstance(error, InvalidRequestError)
    assert "SSL_CERT_FILE" in str(error)
    assert leaks_of(error, [api_key]) == []


def public_objects(api_key: str) -> list[object]:
    """Make one of everything public that is given a secret, directly or not."""
    asked = request()
    return [
        asked,
        asked.environment_variables_overrides,
        asked.secrets,
        asked.body(),
        EnvironmentVariable(name="T", value=VALUE),
        trigger(asked),
        settings_of(api_key=api_key),
        EmpiricalClient(api_key=api_key),
        empirical_provider.AsyncEmpiricalClient(api_key=api_key),
        Answer(200, {"x": VALUE}, VALUE.encode()),
        dataclasses.replace(asked, environment="production"),
        pickle.loads(pickle.dumps(asked)),
        pickle.loads(pickle.dumps(asked)).body(),
    ]


def test_no_repr_of_a_public_object_shows_a_secret(api_key: str) -> None:
    """What holds a secret, and what a request is made into, hides it from its repr."""
    for each in public_objects(api_key):
        assert api_key not in repr(each), type(each)
        assert VALUE not in repr(each), type(each)


def test_a_secret_is_itself_but_for_its_repr() -> None:
    """Hiding changes no value: text, hash, pickle and JSON of an override are the user's."""
    secret = Secret(VALUE)
    assert (secret, hash(secret), f"{secret}", str(secret)) == (VALUE, hash(VALUE), VALUE, VALUE)
    assert pickle.loads(pickle.dumps(secret)) == VALUE
    assert f"{secret!r} {[secret]} {{'a': {secret!r}}}" == "'***' ['***'] {'a': '***'}"
    assert request().body()["environment_variables_overrides"] == [
        {"name": name, "value": value} for name, value in OVERRIDES.items()
    ]


def test_debug_logs_of_the_http_libraries_hold_no_secret(
    empirical: Emulator, ask: Twin, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at DEBUG, a start and a failure tell neither key nor override."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "h11", "asyncio", "empirical_provider"):
        caplog.set_level(logging.DEBUG, logger=name)
    ask("trigger", request())
    empirical.fault("trigger", "drop", when="after")
    caught(lambda: ask("trigger", request()))
    told = {record.name.partition(".")[0] for record in caplog.records}
    assert {"httpx", "httpcore"} <= told
    for record in caplog.records:
        words = f"{record.getMessage()} {record.args!r} {record.exc_info!r}"
        assert api_key not in words
        assert VALUE not in words


def test_a_dump_of_the_stack_holds_no_secret(
    empirical: Emulator, api_key: str, tmp_path: Path
) -> None:
    """What faulthandler writes in the midst of a start names our frames, and no value at all."""
    dump = tmp_path / "dump"

    def crash(_: Any) -> None:
        with dump.open("w") as file:
            faulthandler.dump_traceback(file, all_threads=False)  # of many it leaves some out

    with EmpiricalClient(api_key=api_key, base_url=empirical.url) as client:
        trigger_test_run(client, request(), on_started=crash)
    text = dump.read_text()
    assert "in trigger_test_run" in text
    assert api_key not in text
    assert VALUE not in text


def test_an_error_shared_by_waits_leaves_none(
    empirical: Emulator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that several wait for raises its error in each of them, and none has a secret."""
    from empirical_provider.polling import shared_client  # noqa: PLC0415  # not a public name

    monkeypatch.setattr("empirical_provider.wait._GRACE", 0.0)
    empirical.fault("get_test_run", "status", status=403, message=api_key, times=None)

    async def wait() -> list[Any]:
        async def one() -> None:
            settings = {"api_key": Secret(api_key), "base_url": empirical.url}
            async with shared_client(5, **settings) as client:
                await empirical_provider.await_for_test_run(client, 5, poll_interval=0.05)

        return await asyncio.gather(one(), one(), return_exceptions=True)

    for error in asyncio.run(wait()):
        assert isinstance(error, EmpiricalError)
        assert leaks_of(error, [api_key]) == []
