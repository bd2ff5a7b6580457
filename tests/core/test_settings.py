"""What a client may be told, and what it refuses to be told."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from empirical_provider import EmpiricalClient, InvalidRequestError, Timeouts
from empirical_provider.addresses import address_of, service_url
from empirical_provider.base_client import settings_of


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
        ("HTTP://LOCALHOST:8321", "http://LOCALHOST:8321", "http://LOCALHOST:8321"),
        (
            "HttpS://xn--dsh-7ka.example",
            "https://xn--dsh-7ka.example",
            "https://xn--dsh-7ka.example",
        ),
        ("https://127.0.0.1.evil.example", *["https://127.0.0.1.evil.example"] * 2),
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
        ("base_url", "https://dash.empirical.run@evil.example", "must not hold credentials"),
        ("base_url", "https://@evil.example", "must not hold credentials"),
        ("base_url", "https://:@evil.example", "must not hold credentials"),
        ("base_url", "https://dash.empirical.run\\@evil.example", "must not hold credentials"),
        ("base_url", "https://dash.empirical.run\\.evil.example", "plain address of ASCII"),
        ("base_url", "https:\\\\evil.example", "must be an http or https URL"),
        ("base_url", "http://localhost.evil.example", "must use https"),
        ("base_url", "http://localhost.", "must use https"),
        ("base_url", "http://[::ffff:127.0.0.1]:8321", "must use https"),
        ("base_url", "http://[::1%lo]:8321", "plain address of ASCII"),
        ("base_url", "http://[::1%25lo]:8321", "plain address of ASCII"),
        ("base_url", "http://0x7f.1", "must use https"),
        ("base_url", "http://127.1", "must use https"),
        ("base_url", "http://2130706433", "must use https"),
        ("base_url", "http://0.0.0.0", "must use https"),
        ("base_url", "HTTP://dash.empirical.run", "must use https"),
        ("base_url", "//dash.empirical.run", "must be an http or https URL"),
        ("base_url", "https:dash.empirical.run", "must be an http or https URL"),
        ("base_url", "https:///dash.empirical.run", "must be an http or https URL"),
        ("base_url", "https://d\u0430sh.empirical.run", "plain address of ASCII"),
        ("base_url", "https://dash.empirical\u3002run", "plain address of ASCII"),
        ("base_url", "https://dash.empirical.run\uff0fevil", "must be an http or https URL"),
        ("base_url", "https://\uff44ash.empirical.run", "plain address of ASCII"),
        ("base_url", "https://dash%2eempirical.run", "plain address of ASCII"),
        ("base_url", "https://dash.empirical.run/a/../b", "without '.' and '..'"),
        ("base_url", "https://dash.empirical.run/%2e%2E/b", "without '.' and '..'"),
        ("base_url", "https://dash.empirical.run:0", "plain address of ASCII"),
        ("base_url", "https://dash..empirical.run", "plain address of ASCII"),
        ("base_url", "https://.empirical.run", "plain address of ASCII"),
        ("base_url", f"https://{64 * 'a'}.empirical.run", "plain address of ASCII"),
        ("base_url", "https://dash.empirical.run:\u0664", "no port number"),
        ("base_url", "https://dash.empirical.run:-1", "no port number"),
        ("base_url", "https://dash.empirical.run;x=1", "plain address of ASCII"),
        ("base_url", "\x00https://dash.empirical.run", "one line without control characters"),
        ("base_url", "https://dash.empirical.run/\r\nX: y", "one line without control characters"),
        ("base_url", "https://dash.empirical.run/\ud800", "half of a surrogate pair"),
        ("dashboard_url", "javascript:alert(1)", "must be an http or https URL"),
        ("dashboard_url", "http://elsewhere.example", "must use https"),
        ("api_key", "", "must be a non-empty string, not an empty str"),
        ("api_key", "two words", "visible ASCII"),
        ("api_key", "key\r\nX: y", "visible ASCII"),
        ("api_key", "schlüssel", "visible ASCII"),
        ("api_key", "key\x00", "visible ASCII"),
        ("api_key", "key\x7f", "visible ASCII"),
        ("api_key", "\ud800", "half of a surrogate pair"),
        ("api_key", b"key", "must be a non-empty string, not bytes"),
        ("api_key", "*", "not a masked one"),
        ("api_key", "**********", "not a masked one"),
        ("project_id", 0, "must be at least 1"),
        ("project_id", "7", "must be an integer"),
        ("project_slug", " ", "must be a non-empty string, not a blank str"),
        ("project_slug", ".", "must be a part of a path, not '.'"),
        ("project_slug", "..", "must be a part of a path, not '..'"),
        ("project_slug", "a\nb", "one line without control characters"),
        ("project_slug", "\udfff", "half of a surrogate pair"),
        ("ca_bundle", "", "must be a non-empty string, not an empty str"),
        ("ca_bundle", False, "must be a non-empty string, not bool"),
        ("ca_bundle", "a\x00b", "one line without control characters"),
        ("timeout", 10**400, "must be at most 1000000000 seconds, not a far larger one"),
        ("retry_for", 10**400, "must be at most 1000000000 seconds"),
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
        assert str(value) not in str(error.value)


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


@pytest.mark.parametrize(
    ("slug", "part"),
    [
        ("../../evil", "..%2F..%2Fevil"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("\\\\evil.example", "%5C%5Cevil.example"),
        ("a b", "a%20b"),
        ("a?b#c", "a%3Fb%23c"),
        ("\u202e日本", "%E2%80%AE%E6%97%A5%E6%9C%AC"),
        ("<script>", "%3Cscript%3E"),
        ("%2e%2e", "%252e%252e"),
    ],
)
def test_a_link_stays_below_the_dashboard(slug: str, part: str) -> None:
    """Whatever the project is called by the service, its slug is one quoted part of the link."""
    made = settings(base_url="https://proxy.example/emp")
    link = f"https://proxy.example/emp/{part}/test-runs/5"
    assert made.test_run_url(5, slug) == link


@pytest.mark.parametrize("variable", ["PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_certificates_are_verified_whatever_is_set(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable that turns verification off elsewhere, and no argument, does so here."""
    monkeypatch.setenv(variable, "0" if variable == "PYTHONHTTPSVERIFY" else "")
    with EmpiricalClient(api_key="k") as client:
        context = client._http._transport._pool._ssl_context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    for name in ("verify", "cert", "proxy", "proxies", "follow_redirects", "transport"):
        with pytest.raises(TypeError):
            EmpiricalClient(api_key="k", **{name: False})


def test_the_bundle_is_read_where_it_is_used() -> None:
    """Settings may name a file of another machine: only a client has to find it."""
    made = settings_of(api_key="k", ca_bundle="/etc/of/another/machine.pem")
    assert made.ca_bundle == "/etc/of/another/machine.pem"
    with pytest.raises(InvalidRequestError, match=r"ca_bundle .*machine.pem.*No such file"):
        settings(ca_bundle=made.ca_bundle)


@pytest.mark.parametrize("path", ["", "/", "/emp", "/emp/", "/a/b"])
@pytest.mark.parametrize("scheme", [None, "", "https", "http"])
@pytest.mark.parametrize("own", ["", "https://", "http://"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "::1"])
@pytest.mark.parametrize("port", [None, 0, 8321])
def test_a_port_comes_after_the_host(
    path: str, scheme: str | None, own: str, name: str, port: int | None
) -> None:
    """Whatever a form has as its host, the address has the port where a browser looks for it."""
    if own and name == "::1":
        name = "[::1]"  # in a URL it is written so
    address = address_of(f"{own}{name}{path}", scheme=scheme, port=port)
    host = "[::1]" if "::1" in name else name
    start = own or (f"{scheme}://" if scheme else "https://")
    expected = f"{start}{host}{f':{port}' if port else ''}{path}"
    assert address == expected
    assert service_url("base_url", address) == expected.rstrip("/")


@pytest.mark.parametrize("host", ["h:8321", "h:8321/emp", "https://h:8321", "https://h:8321/emp/"])
def test_two_ports_are_refused_unless_they_are_one(host: str) -> None:
    """A port in the host and another beside it leave open which is meant."""
    assert address_of(host, port=8321) == address_of(host)
    with pytest.raises(InvalidRequestError, match="Host names the port 8321, and Port is 443"):
        address_of(host, port=443)


@pytest.mark.parametrize("host", ["", "user:pw@h", "https://", "h h", "https://user:pw@h/x"])
def test_what_is_no_host_is_for_the_check_to_refuse(host: str) -> None:
    """Nothing that is refused becomes an address that is accepted."""
    with pytest.raises(InvalidRequestError):
        service_url("base_url", address_of(host, port=8321))
