"""Where the service is and how it may be asked: checked once, when a client is made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import quote, urlsplit

from empirical_provider import checks
from empirical_provider.addresses import (
    DEFAULT_BASE_URL,
    dashboard_of,
    is_loopback,
    is_slug,
    service_url,
)
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import Secret, hidden_texts

__all__ = ["CHANGEABLE", "Settings", "Timeouts"]

CHANGEABLE = ("project_id", "project_slug", "retry_for", "secrets", "timeout")
"""Settings that may differ from those of a host's connection for one client. Where the key goes,
and what is trusted there, is for the connection alone to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long one request may take, in seconds.

    Args:
        connect: To make the connection; default 5.
        trigger: To start a run, which can be slow: the service resolves branches meanwhile;
            default 60.
        other: For every other request; default 15.

    Raises:
        InvalidRequestError: A value is no number above 0.
    """

    connect: float = 5.0
    trigger: float = 60.0
    other: float = 15.0

    def __post_init__(self) -> None:
        for each in fields(self):
            checks.number(f"timeout.{each.name}", getattr(self, each.name))

    @classmethod
    def of(cls, value: float | Mapping[str, float] | Timeouts | None) -> Timeouts:
        """Read what users write: nothing, a number for every request, or a mapping of fields.

        A number limits making the connection, too, where it is below the default of that.
        """
        if isinstance(value, Timeouts):
            return value
        if value is None:
            return cls()
        if isinstance(value, Mapping):
            checks.known_keys("timeout", value, [each.name for each in fields(cls)])
            return cls(**value)
        seconds = checks.number("timeout", value)
        return cls(connect=min(seconds, cls().connect), trigger=seconds, other=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a client needs to know before it sends; see `EmpiricalClient` for the fields."""

    api_key: str = field(repr=False)
    base_url: str
    project_id: int | None = None
    project_slug: str | None = None
    dashboard_url: str
    timeouts: Timeouts
    retry_for: float
    ca_bundle: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def checked(
        cls,
        *,
        api_key: object,
        base_url: object,
        project_id: object,
        project_slug: object,
        dashboard_url: object,
        timeout: float | Mapping[str, float] | Timeouts | None,
        retry_for: float,
        ca_bundle: object = None,
        secrets: object = (),
    ) -> Settings:
        """Check every value as a user gave it; raise `InvalidRequestError` naming the bad one.

        Whether the bundle can be read is for the machine to say that uses it: see `certificates`.
        """
        base = service_url("base_url", DEFAULT_BASE_URL if base_url is None else base_url)
        return cls(
            api_key=_api_key(api_key),
            base_url=base,
            project_id=None
            if project_id is None
            else checks.whole_number("project_id", project_id, at_least=1),
            project_slug=None if project_slug is None else _slug(project_slug),
            dashboard_url=dashboard_of(base, dashboard_url),
            timeouts=Timeouts.of(timeout),
            retry_for=0.0 if retry_for == 0 else checks.number("retry_for", retry_for),
            ca_bundle=None if ca_bundle is None else checks.line("ca_bundle", ca_bundle),
            secrets=_secrets(secrets),
        )

    @property
    def host(self) -> str:
        """The host as messages name it, with the port if there is one."""
        return urlsplit(self.base_url).netloc

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    def certificates(self) -> ssl.SSLContext | None:
        """Read the bundle; None: the public authorities, or those of the environment, count.

        Raises:
            InvalidRequestError: It is no file of certificates that can be read here.
        """
        if self.ca_bundle is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and has no authority yet
        try:
            context.load_verify_locations(cafile=self.ca_bundle)
        except OSError as error:  # those of TLS are some, too
            raise InvalidRequestError(
                f"ca_bundle must be the path of a PEM file with certificates, and "
                f"{checks.named(self.ca_bundle)} is not: {error.strerror or error}."
            ) from None
        return context

    def test_run_url(self, run_id: int, project_slug: str) -> str:
        """Return the dashboard page of a run."""
        return f"{self.dashboard_url}/{quote(project_slug, safe='')}/test-runs/{run_id}"


def _api_key(value: object) -> str:
    """Require a key that can stand in a header. The message never holds it."""
    key = Secret(checks.text("api_key", value))
    if not all("!" <= character <= "~" for character in key):
        raise InvalidRequestError(
            "api_key must be visible ASCII characters only; the str given has a space, a line "
            "break or another character that cannot be part of a key."
        )
    if not key.strip("*"):
        raise InvalidRequestError(
            "api_key must be the key itself, not a masked one (got asterisks only). Where it comes "
            "from a dumped block or connection, load that by its name instead."
        )
    return key


def _secrets(value: object) -> tuple[str, ...]:
    """Require texts, of which the empty ones say nothing. The message never holds one."""
    items = hidden_texts(value)
    if None in items:
        raise InvalidRequestError("secrets must be a list of strings; what was given is none.")
    return tuple(dict.fromkeys(each for each in items if each))


def _slug(value: object) -> str:
    slug = checks.line("project_slug", value)
    if not is_slug(slug):
        raise InvalidRequestError(f"project_slug must be a part of a path, not {slug!r}.")
    return slug
