"""The hook: what it makes of a connection, and what the connection's form shows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.connection import Connection

from empirical_provider import InvalidRequestError, Timeouts
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.provider_info import CONNECTION_FIELDS
from tests.airflow.standins import AIRFLOW

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the settings of the client that the hook makes of a connection."""

    def make(connection: dict[str, Any] | str) -> Any:
        text = connection if isinstance(connection, str) else json.dumps(connection)
        monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", text)
        with EmpiricalHook().get_conn() as client:
            sync = client._settings

        async def through_async() -> Any:
            async with await EmpiricalHook().aget_conn() as client:
                return client._settings

        assert asyncio.run(through_async()) == sync
        return sync

    return make


EMPIRICAL = {"conn_type": "empirical", "password": "emp-key-1"}


def test_a_key_is_all_that_a_connection_needs(
    settings_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty Host means Empirical itself, whatever the process's environment says."""
    monkeypatch.setenv("EMPIRICAL_BASE_URL", "http://127.0.0.1:1")
    made = settings_of(EMPIRICAL)
    assert (made.api_key, made.base_url) == ("emp-key-1", "https://dash.empirical.run")


@pytest.mark.parametrize(
    ("connection", "base_url"),
    [
        ({"host": "https://api.empirical.run"}, "https://api.empirical.run"),
        ({"host": "api.empirical.run"}, "https://api.empirical.run"),
        ({"host": "http://127.0.0.1:8321"}, "http://127.0.0.1:8321"),
        ({"host": "127.0.0.1", "port": 8321, "schema": "http"}, "http://127.0.0.1:8321"),
        ({"host": "https://a.example/emp", "port": 8443}, "https://a.example:8443/emp"),
        ({"host": "a.example/emp/", "port": 8443}, "https://a.example:8443/emp"),
    ],
)
def test_the_host_is_a_url_or_a_name(
    connection: dict[str, Any], base_url: str, settings_of: Any
) -> None:
    """Host takes a whole URL, or the bare name that a connection URI leaves there."""
    assert settings_of({**EMPIRICAL, **connection}).base_url == base_url


def test_a_connection_uri_works(settings_of: Any) -> None:
    """A connection written as a URI gives the same client as one written as JSON."""
    made = settings_of("empirical://:emp-key-1@api.empirical.run/?project_id=7")
    assert (made.api_key, made.base_url) == ("emp-key-1", "https://api.empirical.run")
    assert made.project_id == 7


def test_a_url_survives_the_way_through_a_uri(settings_of: Any) -> None:
    """Airflow passes connections to its triggerer as URIs; the base URL comes out whole."""
    uri = Connection(conn_id="x", host="http://127.0.0.1:8321", **EMPIRICAL).get_uri()
    assert settings_of(uri).base_url == "http://127.0.0.1:8321"


def test_the_extras_are_read_also_as_text(settings_of: Any) -> None:
    """Forms of older Airflows store numbers as text, and fields left empty as empty text."""
    extra = {
        "project_id": "7",
        "project_slug": "acme",
        "dashboard_url": "https://empirical.run",
        "timeout": "2.5",
        "environment": "",
    }
    made = settings_of({**EMPIRICAL, "extra": extra})
    assert (made.project_id, made.project_slug) == (7, "acme")
    assert made.dashboard_url == "https://empirical.run"
    assert made.timeouts == Timeouts(connect=2.5, trigger=2.5, other=2.5)


@pytest.mark.parametrize("empty", ["", None])
def test_extras_that_were_left_empty_are_as_good_as_none(
    empty: str | None, settings_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form may save each of its fields, left empty: nothing is refused, and nothing changes."""
    connection = {**EMPIRICAL, "extra": dict.fromkeys(CONNECTION_FIELDS, empty)}
    assert settings_of(connection) == settings_of(EMPIRICAL)
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", json.dumps(connection))
    assert EmpiricalHook("empty").default_environment is None


def skip_where_airflow_drops_it(connection: dict[str, Any]) -> None:
    if isinstance(connection.get("extra"), str) and AIRFLOW == (3, 0):
        pytest.skip("To Airflow 3.0 a connection whose Extra is no JSON object does not exist.")


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"password": ""}, "'empirical_default': the Password must hold the Empirical API key"),
        ({"extra": {"projekt_id": 1}}, "unknown key 'projekt_id'; known are project_id, project_s"),
        ({"extra": {"verify": False}}, "has the unknown key 'verify'"),
        ({"extra": {"project_id": "seven"}}, "project_id must be an integer"),
        ({"extra": {"timeout": "soon"}}, "timeout must be a number above 0, not str"),
        ({"extra": {"environment": 7}}, "extra, environment must be a non-empty string, not int"),
        ({"extra": "staging"}, "'empirical_default': Extra must be a JSON object with any of proj"),
        ({"extra": "['a']"}, "not text that is no JSON"),
        ({"extra": '["a"]'}, "Extra must be a JSON object with any of project_id, project_slug, "),
        ({"extra": "7"}, "not int"),
        ({"host": "http://dash.empirical.run"}, "base_url must use https"),
    ],
)
def test_a_wrong_connection_is_refused_by_field(
    connection: dict[str, Any], message: str, settings_of: Any
) -> None:
    """What the connection should not hold is named, before anything is sent."""
    skip_where_airflow_drops_it(connection)
    with pytest.raises(InvalidRequestError) as error:
        settings_of({**EMPIRICAL, **connection})
    assert message in str(error.value)
    assert "emp-key-1" not in str(error.value)


def test_the_default_environment_comes_from_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection may name the environment for tasks that name none."""
    connection = {**EMPIRICAL, "extra": {"environment": "staging"}}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    assert EmpiricalHook("other").default_environment == "staging"


@pytest.mark.usefixtures("connection")
def test_the_connection_test_reads_and_starts_nothing(empirical: Emulator) -> None:
    """A good key is told with the environments it sees; nothing is started."""
    assert EmpiricalHook().test_connection() == (
        True,
        "Connected to Empirical; environments: production, staging.",
    )
    assert [request.endpoint for request in empirical.requests] == ["list_environments"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": "wrong-key"}, "answered 401"),
        ({"host": "http://127.0.0.1:1"}, "could not connect"),
        ({"extra": {"colour": "red"}}, "unknown key 'colour'"),
        ({"extra": '["staging"]'}, "Extra must be a JSON object"),
        ({"extra": {"timeout": "30s"}}, "timeout must be a number above 0, not str"),
        ({"extra": {"environment": "stagin"}}, "its default environment 'stagin' is not known"),
    ],
)
def test_the_connection_test_says_what_is_wrong(
    changes: dict[str, Any],
    message: str,
    connection: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bad key, a dead host and a bad extra are told apart, at once and without the key."""
    skip_where_airflow_drops_it(changes)
    changed = {**connection, **changes}
    monkeypatch.setenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT", json.dumps(changed))
    good, told = EmpiricalHook().test_connection()
    assert not good
    assert message in told
    assert changed["password"] not in told


def test_the_connection_is_looked_up_once(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hook reads its connection one time: on Airflow 3 each look-up is a request."""
    hook = EmpiricalHook()
    with hook.get_conn():
        monkeypatch.delenv("AIRFLOW_CONN_EMPIRICAL_DEFAULT")
        with hook.get_conn() as client:
            assert client._settings.api_key == connection["password"]
        assert hook.default_environment is None
