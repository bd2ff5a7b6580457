"""What both clients share: everything but the sending."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx

import empirical_provider
from empirical_provider import endpoints, project_endpoints
from empirical_provider.addresses import is_slug
from empirical_provider.endpoints import Call
from empirical_provider.exceptions import EmpiricalError, InvalidRequestError
from empirical_provider.hiding import Secret, hidden_texts, hide
from empirical_provider.models import Project, TestRun, TestRunRequest
from empirical_provider.receiving import Answer
from empirical_provider.redaction import unsaid
from empirical_provider.retry import Attempts
from empirical_provider.settings import Settings, Timeouts

__all__ = ["BaseClient", "settings_of"]

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=50.0)
"""As httpx has them, but for connections that live from one look at a run to the next. Servers and
balancers are known to close what has been idle for 60 s and more."""

_MOST_SECRETS = 1000
"""Values that a client masks at most: one that starts runs without end forgets the first ones."""


def settings_of(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    project_id: int | None = None,
    project_slug: str | None = None,
    dashboard_url: str | None = None,
    timeout: float | Mapping[str, float] | Timeouts | None = None,
    retry_for: float = 60.0,
    ca_bundle: str | None = None,
    secrets: Iterable[str] = (),
) -> Settings:
    """Return what the arguments of a client come to, with what the environment adds."""
    api_key, secrets = hide(api_key), hidden_texts(secrets)
    if api_key is None:
        api_key = hide(os.environ.get("EMPIRICALRUN_KEY"))
        if api_key is not None and not api_key.strip():
            raise InvalidRequestError(
                "The environment variable EMPIRICALRUN_KEY is set and empty. In a CI job that is "
                "what becomes of a secret that does not exist, or that the job may not read (such "
                "as that of a pull request from a fork)."
            )
        if api_key is None:
            raise InvalidRequestError(
                "api_key is not given, and the environment variable EMPIRICALRUN_KEY is not "
                "set either. Keys are made in the dashboard, under Settings, API keys."
            )
    return Settings.checked(
        api_key=api_key,
        base_url=base_url or os.environ.get("EMPIRICAL_BASE_URL") or None,
        project_id=project_id,
        project_slug=project_slug,
        dashboard_url=dashboard_url,
        timeout=timeout,
        retry_for=retry_for,
        ca_bundle=ca_bundle,
        secrets=secrets,
    )


class BaseClient:
    """What both clients are made of: settings, and what is made of them for a call."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        project_id: int | None = None,
        project_slug: str | None = None,
        dashboard_url: str | None = None,
        timeout: float | Mapping[str, float] | Timeouts | None = None,
        retry_for: float = 60.0,
        ca_bundle: str | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        """Check the settings and get ready; nothing is sent yet.

        Args:
            api_key: API key of the project; default: the environment variable ``EMPIRICALRUN_KEY``.
            base_url: Where the API answers; default: ``EMPIRICAL_BASE_URL``, else
                ``https://dash.empirical.run``. https only, but for hosts of this machine.
            project_id: Sent as ``x-project-id``; needed only for a key that is not bound to a
                project.
            project_slug: Slug of the project in the dashboard's URLs; looked up when not given.
            dashboard_url: Where runs are shown; default: derived from ``base_url``.
            timeout: Seconds one request may take: a number for every request, or `Timeouts`, or a
                mapping of its fields; default 5 to connect, 60 to start a run, 15 for the rest. It
                counts for a whole answer, however slowly that comes.
            retry_for: Seconds in all during which a request that failed may be sent again; default
                60; 0 means never. A request that starts a run is sent again only where the first
                cannot have had an effect: no connection, or 429.
            ca_bundle: Path of a PEM file with the authorities whose certificates count instead of
                the public ones, such as those of your company. That certificates are verified
                cannot be turned off.
            secrets: Texts to mask in all that is read, such as the values of the overrides of a run
                that another client has started; default: none. Those of a run that this client
                starts are masked anyway.

        Raises:
            InvalidRequestError: A value is not valid; the message names it, never the key.
        """
        api_key, secrets = hide(api_key), hidden_texts(secrets)
        self._settings = settings_of(
            api_key=api_key,
            base_url=base_url,
            project_id=project_id,
            project_slug=project_slug,
            dashboard_url=dashboard_url,
            timeout=timeout,
            retry_for=retry_for,
            ca_bundle=ca_bundle,
            secrets=secrets,
        )
        self._clock = time.monotonic
        self._wall = time.time
        self._service_ahead: float | None = None
        try:
            self._open()
        except InvalidRequestError:
            raise
        except OSError as error:  # a ca_bundle was read before
            raise InvalidRequestError(
                f"The certificates that the environment names (SSL_CERT_FILE, SSL_CERT_DIR) cannot "
                f"be used: {type(error).__name__}."
            ) from None
        except (ValueError, ImportError, httpx.InvalidURL):  # what httpx makes of a bad proxy
            raise InvalidRequestError(
                "The proxy settings of the environment (HTTPS_PROXY, ALL_PROXY and others) must be "
                "http or https addresses; socks5 needs httpx[socks]."
            ) from None

    def _open(self) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._settings.base_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client holds an API key and a connection; it cannot be pickled.")

    def _http_options(self) -> dict[str, Any]:
        """How httpx is set up. Redirects are never followed: the key would travel."""
        headers = {
            "Authorization": Secret(f"Bearer {self._settings.api_key}"),
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # so that an answer is as large as it looks
            "User-Agent": f"empirical-provider/{empirical_provider.__version__}",
        }
        if self._settings.project_id is not None:
            headers["x-project-id"] = str(self._settings.project_id)
        options: dict[str, Any] = {
            "headers": headers,
            "follow_redirects": False,
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none are kept
            "limits": _LIMITS,
            "trust_env": not self._settings.is_loopback,  # no proxy stands before this machine
        }
        certificates = self._settings.certificates()
        if certificates is not None:
            options["verify"] = certificates
        elif self._settings.base_url.startswith("http://"):
            # Nothing is encrypted here; reading the authorities would take longer than the request.
            options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        elif self._settings.is_loopback:
            options["verify"] = httpx.create_ssl_context()  # SSL_CERT_FILE counts here as elsewhere
        return options

    def _seconds(self, call: Call[Any]) -> float:
        limits = self._settings.timeouts
        return limits.trigger if call.starts_run else limits.other

    def _request(self, call: Call[Any]) -> dict[str, Any]:
        limits = self._settings.timeouts
        # Not by httpx: before 0.28 its params take a "%0d" in a value for a quoted character.
        query = f"?{urlencode(call.params)}" if call.params else ""
        return {
            "method": call.method,
            "url": f"{self._settings.base_url}{call.path}{query}",
            "json": call.body,
            "timeout": httpx.Timeout(self._seconds(call), connect=limits.connect),
        }

    def _heard(self, answer: Answer | EmpiricalError) -> Answer:
        """Note by how much the service's clock is ahead of our running one; raise what is none.

        So no frame of the exchange, which holds pieces of request and answer, is in a traceback.
        """
        if isinstance(answer, EmpiricalError):
            raise answer
        sent_at = answer.sent_at
        if sent_at is not None:
            self._service_ahead = sent_at - self._clock()
        return answer

    @property
    def service_time(self) -> float | None:
        """The time by the service's clock, as its last answer had it; None: unknown.

        Its dates are whole seconds, and take a while to get here: it may be later there. That this
        machine's clock is set meanwhile makes no difference.
        """
        ahead = self._service_ahead
        return None if ahead is None else ahead + self._clock()

    def _at_most(self, seconds: float) -> float:
        """Return the seconds during which to try again where there are only so many."""
        return min(seconds, self._settings.retry_for)

    def _attempts(self, retry_for: float | None) -> Attempts:
        limit = self._settings.retry_for if retry_for is None else retry_for
        return Attempts(limit, self._clock)

    def _link_calls(self, run: TestRun) -> list[Call[Any]]:
        """Where the project's slug may be found, if it is not known: what is sure comes first."""
        if self._settings.project_slug is not None:
            return []
        project_id = run.project_id or self._settings.project_id
        calls: list[Call[Any]] = [endpoints.get_test_run(run.id)]
        if project_id is not None and project_id > 0:
            calls.insert(0, project_endpoints.get_project(project_id))
        return calls

    def _learn_slug(self, found: TestRun | Project) -> bool:
        """Remember the project's slug (a client serves one project); say whether it is known."""
        if self._settings.project_slug is None:
            slug = found.slug if isinstance(found, Project) else found.project_slug
            if slug is not None and is_slug(slug):
                self._settings = replace(self._settings, project_slug=slug)
        return self._settings.project_slug is not None

    def _mask(self, request: TestRunRequest) -> None:
        """Mask the values of a request's overrides, too, in all that is read from now on."""
        self._mask_values(unsaid(request.secrets, request.body()))

    def _mask_values(self, hidden: tuple[str, ...]) -> None:
        """Mask these, too, in all that is read from now on."""
        before = [each for each in self._settings.secrets if each not in hidden]
        most = max(_MOST_SECRETS, len(hidden))
        self._settings = replace(self._settings, secrets=(*before, *hidden)[-most:])

    def with_url(self, run: TestRun) -> TestRun:
        """Return the run with its dashboard page if the slug is known by now; asks nothing."""
        self._learn_slug(run)
        slug = self._settings.project_slug
        return replace(run, url=self._settings.test_run_url(run.id, slug)) if slug else run
