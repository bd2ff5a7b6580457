"""What a client may be told, and what it refuses to be told."""

from __future__ import annotations

from typing import Any

import pytest

from empirical_provider import EmpiricalClient, InvalidRequestError, Timeouts


def settings(**given: Any) -> Any:
    with EmpiricalClient(**{"api_key": "k", **given}) as client:
        return client._settings


@pytest.mark.parametrize(
    ("given", "base", "dashboard"),
    [
        (None, "https://dash.empirical.run", "https://dash.empirical.run"),
        ("https://api.empirical.run/", "https://api.empirical.run", "https://dash.empirical.run"),
        ("https://proxy.example/emp/", "https://proxy.example/emp", "https://proxy.example/emp"),
        ("http://127.0.0.1:8321", "http://127.0.0.1:8321", "http://127.0.0.1:8321"),
        ("http://localhost:8321", "http://localhost:8321", "http://localhost:8321"),
        ("http://[::1]:8321", "http://[::1]:8321", "http://[::1]:8321"),
    ],
)
def test_base_urls_and_their_dashboards(given: str | None, base: str, dashboard: str) -> None:
    """The API's address may be any https host, or http on this machine; the dashboard follows."""
    made = settings(base_url=given)
    assert (made.base_url, made.dashboard_url) == (base, dashboard)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("base_url", "http://dash.empirical.run", "must use https"),
        ("base_url", "http://127.0.0.1.example.com", "must use https"),
        ("base_url", "https://user:pw@dash.empirical.run", "must not hold credentials"),
        ("base_url", "https://dash.empirical.run?x=1", "must not have a query"),
        ("base_url", "https://dash.empirical.run/#x", "must not have a query"),
        ("base_url", "https://dash.empirical.run:99999", "no port number"),
        ("base_url", "dash.empirical.run", "must be an http or https URL"),
        ("base_url", "file:///etc/passwd", "must be an http or https URL"),
        ("base_url", 5, "must be a non-empty string, not int"),
        ("dashboard_url", "javascript:alert(1)", "must be an http or https URL"),
        ("dashboard_url", "http://elsewhere.example", "must use https"),
        ("api_key", "", "must be a non-empty string, not an empty str"),
        ("api_key", "two words", "visible ASCII"),
        ("api_key", "key\r\nX: y", "visible ASCII"),
        ("api_key", "schlüssel", "visible ASCII"),
        ("project_id", 0, "must be at least 1"),
        ("project_id", "7", "must be an integer"),
        ("project_slug", " ", "must be a non-empty string, not a blank str"),
        ("timeout", 0, "must be a number above 0"),
        ("timeout", float("inf"), "must be a number above 0"),
        ("timeout", "5", "must be a number above 0, not str"),
        ("timeout", {"conect": 1}, "Did you mean 'connect'"),
        ("timeout", {"connect": -1}, "timeout.connect must be a number above 0"),
        ("retry_for", -1, "must be a number above 0"),
    ],
)
def test_bad_settings_are_refused_by_name(field: str, value: Any, message: str) -> None:
    """A bad setting is refused when the client is made; the key is never in the message."""
    with pytest.raises(InvalidRequestError, match=message) as error:
        settings(**{field: value})
    assert field in str(error.value)
    if field == "api_key" and value:
        assert value not in str(error.value)


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        (None, Timeouts(connect=5, trigger=60, other=15)),
        (3, Timeouts(connect=3, trigger=3, other=3)),
        (120.0, Timeouts(connect=5, trigger=120, other=120)),
        ({"trigger": 90}, Timeouts(connect=5, trigger=90, other=15)),
        (Timeouts(other=1), Timeouts(connect=5, trigger=60, other=1)),
    ],
)
def test_time_outs(given: Any, limits: Timeouts) -> None:
    """One number sets all requests; connecting never gets more than its five seconds by it."""
    assert settings(timeout=given).timeouts == limits


def test_the_environment_fills_in_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMPIRICALRUN_KEY and EMPIRICAL_BASE_URL serve outside a host; arguments win."""
    monkeypatch.setenv("EMPIRICALRUN_KEY", "from-env")
    monkeypatch.setenv("EMPIRICAL_BASE_URL", "http://127.0.0.1:1")
    with EmpiricalClient() as client:
        assert client._settings.api_key == "from-env"
        assert client._settings.base_url == "http://127.0.0.1:1"
    assert settings(base_url="https://api.empirical.run").base_url == "https://api.empirical.run"


def test_a_missing_key_says_where_keys_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any key the message names both ways to give one."""
    monkeypatch.delenv("EMPIRICALRUN_KEY", raising=False)
    with pytest.raises(InvalidRequestError, match=r"EMPIRICALRUN_KEY.*dashboard"):
        EmpiricalClient()


def test_settings_show_no_key() -> None:
    """The repr of the settings leaves the key out."""
    assert "hush" not in repr(settings(api_key="hush"))
