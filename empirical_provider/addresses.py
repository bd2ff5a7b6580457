"""Where the service is by default, and which addresses may stand in for it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError

__all__ = [
    "DEFAULT_BASE_URL",
    "address_of",
    "dashboard_of",
    "is_loopback",
    "is_slug",
    "is_test_run_page",
    "service_url",
]

DEFAULT_BASE_URL = "https://dash.empirical.run"
"""Answers the API and shows the dashboard."""

_DASHBOARD_OF = {"https://api.empirical.run": DEFAULT_BASE_URL}
"""API hosts whose dashboard lives elsewhere; every other host is taken to show its own."""

_PLAIN = (
    r"(?i:https?)://([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)
"""What every reader of an address, a browser included, takes for the same host and path. Compiled
when it is used: imports cost."""

_PAGE = r"/[^/]+/test-runs/[1-9][0-9]*\Z"

_DOTS = {".", ".."}
"""Parts of a path that lead elsewhere; there is no way to quote them."""


def dashboard_of(base_url: str, given: object = None) -> str:
    """Return the address of the dashboard that shows what an API answers about.

    Args:
        base_url: The API's address.
        given: The dashboard's, where a user has said it.

    Raises:
        InvalidRequestError: The dashboard's is not valid.
    """
    if given is not None:
        return service_url("dashboard_url", given)
    return _DASHBOARD_OF.get(base_url, base_url)


def address_of(host: str, *, scheme: str | None = None, port: int | None = None) -> str:
    """Return the URL that a host, or a whole URL in its place, and a port come to.

    Args:
        host: A host, with or without a path, or a URL; empty: there is none.
        scheme: Of a host; default https.
        port: Comes after the host, before a path.

    Raises:
        InvalidRequestError: The host has another port already.
    """
    given, separator, rest = host.partition("://")
    if not separator:
        given, rest = scheme or "https", host
    name = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    path = rest[len(name) :]
    if not separator and name.count(":") > 1 and not re.search(r"[\[@]", name):  # of IPv6
        name = f"[{name}]"
    if not name:
        return host
    own = re.search(r":([0-9]+)\Z", name)
    if port and own is None:
        name = f"{name.removesuffix(':')}:{port}"
    elif port and own is not None and own[1] != str(port):
        raise InvalidRequestError(
            f"Host names the port {own[1]}, and Port is {port}: leave one out."
        )
    return f"{given}://{name}{path}"


def service_url(field_name: str, value: object) -> str:
    """Require https (http only on this machine), and nothing but host, port and path."""
    url = checks.http_url(field_name, value)
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise InvalidRequestError(f"{field_name} must not hold credentials.")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise InvalidRequestError(f"{field_name} must not have a query or a fragment.")
    try:
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError:
        raise InvalidRequestError(f"{field_name} has a port that is no port number.") from None
    leads_elsewhere = _DOTS & {unquote(part) for part in parts.path.split("/")}
    if not re.fullmatch(_PLAIN, url) or parts.port == 0 or leads_elsewhere:
        raise InvalidRequestError(
            f"{field_name} must be a plain address of ASCII characters: a host (an international "
            f"one as xn--...) of parts of 1 to 63 characters, perhaps a port, and a path without "
            f"'.' and '..'."
        )
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InvalidRequestError(
            f"{field_name} must use https; http is allowed only for this machine "
            f"(127.0.0.1, localhost, [::1]), not for {parts.hostname!r}."
        )
    return f"{parts.scheme}{url[len(parts.scheme) :]}".rstrip("/")  # the scheme in lower case


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: by a name or number that cannot mean another one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def is_slug(text: str) -> bool:
    """Tell whether a text can be one part of a path, once it is quoted."""
    return bool(text) and text not in _DOTS


def is_test_run_page(value: object) -> bool:
    """Tell whether a value has the form of a run's page in a dashboard: see `service_url`."""
    try:
        url = service_url("url", value)
    except InvalidRequestError:
        return False
    return re.search(_PAGE, urlsplit(url).path) is not None
