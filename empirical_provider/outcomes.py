"""What an exchange came to: the result of a call, or one of our errors with its whole story.

The one place that knows what a status, a broken connection or a strange body means, and the one
that writes messages about them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from empirical_provider import answers, decoding, redaction
from empirical_provider import exceptions as errors
from empirical_provider.addresses import is_slug
from empirical_provider.answers import Refused, Unreadable
from empirical_provider.endpoints import Call
from empirical_provider.models import TestRun
from empirical_provider.receiving import MOST_OF_A_REFUSAL, Answer
from empirical_provider.settings import Settings

__all__ = ["endless_list", "failure_of", "result_of"]

T = TypeVar("T")

_LONGEST_QUOTE = 500
_LONGEST_ESCAPE = 12
"""Characters at most that stand for one in a text, however it is written."""
_VALUE = re.compile(r'("value"\s*:\s*)"(?:[^"\\]|\\.)*("|\Z)')
"""The value of an override, as a run repeats it: a secret that may be somebody else's."""
_NO_WORD = 8
"""Characters from which on a secret in a result is no chance: a word such as "main" stays."""

_SLACK = 60.0
"""Seconds by which two clocks of the service may differ."""

_WRONG_PLACE = "Check that the base URL is Empirical's and that no proxy answers in its place."

_LATER = "Try again later."

_REMEDIES: dict[int, tuple[type[errors.EmpiricalError], str]] = {
    401: (
        errors.AuthenticationError,
        "Check that the API key is right, and neither deleted nor disabled in the dashboard.",
    ),
    402: (errors.BillingError, "Settle the organisation's billing with Empirical."),
    403: (errors.AuthenticationError, "The API key may not do this; use one of the right project."),
    404: (
        errors.NotFoundError,
        "Check the id, the base URL, and that the API key belongs to the right project.",
    ),
    408: (errors.NoAnswerError, _LATER),  # the service gave up half-way
    412: (errors.AlreadyFinishedError, "The test run is in a terminal state already."),
    429: (errors.RateLimitedError, "Nothing was acted on. Ask less often, or later."),
}
_BAD_REQUEST = (errors.InvalidRequestError, "Correct the request and send it again.")
_SERVER_FAILED = (errors.ServerError, f"The service failed. {_LATER}")
_MAY_HAVE_ACTED = (errors.NoAnswerError, errors.ServerError)

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""What httpx raises while there is no connection that the request could have been written to."""


def result_of(settings: Settings, call: Call[T], answer: Answer) -> T:
    """Return what the call asked for, or raise the error that the answer amounts to."""
    story = _Story(settings, call)
    if not 200 <= answer.status < 300:  # noqa: PLR2004
        raise _refusal(story, answer)
    try:
        try:
            result = call.read(_decoded(settings, call, answer))
        except Refused as refused:
            if refused.run is not None:
                _refuse_an_older_run(settings, answer, refused.run)
            raise
        if call.starts_run and isinstance(result, TestRun):
            _refuse_an_older_run(settings, answer, result)
        return result  # noqa: TRY300  # all of it may be refused
    except Refused as refused:
        what_came = f"answered {answer.status}, but {refused}{story.reason(answer.body)}"
        run_id = refused.run.id if refused.run else None
        error = story.rejection(what_came, answer, run_id, refused)
    except Unreadable as cause:
        what_came = f"answered {answer.status}, but {cause}: {story.quote(answer.body)}"
        unreadable = errors.UnreadableAnswerError
        error = story.unclear(unreadable, what_came, _WRONG_PLACE, cause, status=answer.status)
        if isinstance(error, unreadable) and cause.run is not None:
            slug = settings.project_slug or cause.run.project_slug
            url = settings.test_run_url(cause.run.id, slug) if slug and is_slug(slug) else None
            error.run, cause.run = replace(cause.run, url=url), None
    raise error


def _refuse_an_older_run(settings: Settings, answer: Answer, run: TestRun) -> None:
    """Refuse a run that is older than the request by the service's clock.

    Its date may be that of another clock than the one in the answer's header: a minute is given.
    """
    if answer.sent_at is None or run.created is None:
        return
    if run.created.timestamp() < answer.sent_at - settings.timeouts.trigger - _SLACK:
        raise Unreadable(f"it names test run {run.id}, which was created at {run.created_at}")


def failure_of(settings: Settings, call: Call[Any], cause: Exception) -> errors.EmpiricalError:
    """Return the error that an exchange without a complete answer amounts to."""
    story = _Story(settings, call)
    strange = isinstance(cause, (httpx.ProtocolError, httpx.DecodingError))
    told = story.clean(_without_quote(str(cause)) if strange else str(cause))
    if isinstance(cause, httpx.HTTPError):
        cause.args = (told,)
    what = ": ".join(filter(None, [type(cause).__name__, told]))
    if isinstance(cause, _NOT_SENT):
        return story.error(
            errors.NotSentError,
            f"could not connect ({what})",
            "Nothing was acted on. Check the base URL, the network and the proxy settings.",
            cause,
        )
    if isinstance(cause, httpx.InvalidURL):  # for one, it is too long
        kind, remedy = _BAD_REQUEST
        return story.error(kind, f"cannot be sent ({what})", f"Nothing was. {remedy}", cause)
    if isinstance(cause, Unreadable):
        unreadable = errors.UnreadableAnswerError
        return story.unclear(unreadable, f"answered, but {cause}", _WRONG_PLACE, cause)
    return story.unclear(errors.NoAnswerError, f"got no answer ({what})", _LATER, cause)


def endless_list(pages: int) -> errors.EmpiricalError:
    """Return the error for a list of test runs of which each page repeats those before."""
    return errors.UnreadableAnswerError(
        f"Could not list the test runs: the last {pages} pages hold only runs that were on a page "
        f"before. {_WRONG_PLACE}"
    )


def _refusal(story: _Story, answer: Answer) -> errors.EmpiricalError:
    """Return the error for an answer that is not 2xx."""
    status = answer.status
    if 300 <= status < 400:  # noqa: PLR2004
        return story.error(
            errors.UnreadableAnswerError,
            f"answered {status}, a redirect; it is not followed, as the API key would travel along",
            "Set the base URL to the address that the service answers on.",
            status=status,
        )
    rejected = _rejected_run(story, answer) if story.call.starts_run else None
    if rejected is not None:
        what_came = f"answered {status}{story.reason(answer.body)}"
        return story.rejection(what_came, answer, rejected.id)
    kind, remedy = _REMEDIES.get(status, _SERVER_FAILED if status >= 500 else _BAD_REQUEST)  # noqa: PLR2004
    wait = answer.retry_after
    asked_to_wait = "" if wait is None else f" and asked to wait {wait:.0f} s"
    what_came = f"answered {status}{asked_to_wait}: {story.quote(answer.body)}"
    tell = story.unclear if kind in _MAY_HAVE_ACTED else story.error
    return tell(kind, what_came, remedy, status=status, retry_after=wait)


def _rejected_run(story: _Story, answer: Answer) -> TestRun | None:
    """Return the run that an answer names which is not 2xx: it was made, and could not start.

    Not where the service failed after the run was under way, or names one from before.
    """
    with suppress(Unreadable):
        run = answers.run_of_refusal(_decoded(story.settings, story.call, answer))
        if run is None:
            return None
        _refuse_an_older_run(story.settings, answer, run)
        is_live = run.state.is_known and not run.state.is_terminal
        return None if is_live and answer.status >= 500 else run  # noqa: PLR2004
    return None


@dataclass(frozen=True, slots=True)
class _Story:
    """Tells what became of one call, without any of its secrets."""

    settings: Settings
    call: Call[Any]

    def error(
        self,
        kind: type[errors.EmpiricalError],
        what_came: str,
        remedy: str,
        cause: BaseException | None = None,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        run_id: int | None = None,
    ) -> errors.EmpiricalError:
        """Make an error: what was asked of which host and path, what came, what to do."""
        run_id = run_id or self.call.run_id
        slug = self.settings.project_slug
        url = self.settings.test_run_url(run_id, slug) if run_id and slug else None
        told_already = run_id == self.call.run_id and url is None
        about = "" if told_already else f" Test run {run_id}{f': {url}' if url else ''}."
        error = kind(
            f"Could not {_cut(self.clean(self.call.asked))}: {self.call.method} "
            f"{self.settings.host}{self.call.path} {what_came}.{about} {remedy}",
            status=status,
            run_id=run_id,
            run_url=url,
            retry_after=retry_after,
        )
        error.__cause__ = None if cause is None else _bare(cause)
        return error

    def rejection(
        self, what_came: str, answer: Answer, run_id: int | None, cause: Refused | None = None
    ) -> errors.EmpiricalError:
        """Make the error for a run that was not started."""
        return self.error(
            errors.TriggerRejectedError,
            what_came,
            "The run was not started; the service's words or the run's page say why.",
            cause,
            status=answer.status,
            run_id=run_id,
        )

    def unclear(
        self,
        kind: type[errors.EmpiricalError],
        what_came: str,
        remedy: str,
        cause: BaseException | None = None,
        **numbers: Any,
    ) -> errors.EmpiricalError:
        """Make an error after which it is not clear whether the service has acted.

        If it may have started a run, of which we do not know the id, that is what the error says.
        """
        error = self.error(kind, what_came, remedy, cause, **numbers)
        if not self.call.starts_run:
            return error
        unknown = (
            f"It is not known whether a test run was started: look for it at "
            f"{self.settings.dashboard_url} before you start another one."
        )
        return self.error(errors.TriggerOutcomeUnknownError, what_came, unknown, error, **numbers)

    def quote(self, body: bytes) -> str:
        """Return the service's own words, cut and without secrets."""
        text = _words(body)
        if len(body) >= MOST_OF_A_REFUSAL:  # its end may be a piece of a secret
            text = text[: -max(map(len, self._secrets())) * _LONGEST_ESCAPE]
        words = _cut(self.clean(_VALUE.sub(r'\1"***"', text)))
        return f'"{words}"' if words else "(nothing)"

    def reason(self, body: bytes) -> str:
        """Return the service's words on why a run was not started, to go on with, if it has any."""
        return f": {self.quote(body)}" if _said(_parsed(body)) or _parsed(body) is None else ""

    def clean(self, words: str) -> str:
        """Take out the key and the override values, line breaks and control characters."""
        return redaction.one_line(words, self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        return (self.settings.api_key, *self.call.secrets, *self.settings.secrets)


def _bare(cause: BaseException) -> BaseException:
    """Return what went wrong alone: the frames it has passed hold headers, request and answer."""
    if isinstance(cause, Refused):
        cause.run = None
    if not isinstance(cause, errors.EmpiricalError):
        cause.__cause__ = cause.__context__ = None
        if isinstance(cause, httpx.RequestError):
            cause._request = None  # noqa: SLF001  # it holds the headers
    return cause.with_traceback(None)


def _decoded(settings: Settings, call: Call[Any], answer: Answer) -> Any:
    """Return the JSON of an answer, with the secrets of the exchange masked."""
    return decoding.from_json(
        answer.body, _long([settings.api_key]), _long(_values(settings, call))
    )


def _values(settings: Settings, call: Call[Any]) -> tuple[str, ...]:
    """Return the values of overrides that no result may say, should the service say them back."""
    return (*redaction.unsaid(call.secrets, call.body), *settings.secrets)


def _long(secrets: Iterable[str]) -> list[str]:
    """Return the secrets that are none by chance: a word is none."""
    return [each for each in secrets if len(each) >= _NO_WORD]


def _without_quote(words: str) -> str:
    """Return what an HTTP library says up to where it quotes what has come, cut and escaped."""
    return re.split(r""":?\s*(?:bytearray\()?b?['"]""", words, maxsplit=1)[0]


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST_QUOTE else f"{words[:_LONGEST_QUOTE]}…"


def _words(body: bytes) -> str:
    """Find what the service says in an answer: its message, or else the text as it is."""
    return _said(_parsed(body)) or body[:MOST_OF_A_REFUSAL].decode("utf-8", errors="replace")


def _parsed(body: bytes) -> Any:
    """Return the JSON of a body, or None."""
    try:
        return json.loads(body[:MOST_OF_A_REFUSAL].decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None


_PLACES = (
    ("error", "message"),
    ("error",),
    ("message",),
    # Where a rejected trigger says why is not documented: these are guesses.
    ("data", "trigger", "error", "message"),
    ("data", "trigger", "error"),
    ("data", "trigger", "message"),
    ("data", "trigger", "reason"),
    ("data", "test_run", "error_code"),
    ("data", "message"),
)
"""Where the service's own words may stand in an answer."""


def _said(answer: Any) -> str | None:
    """Return the first text that stands in one of those places."""
    for place in _PLACES:
        found = answer
        for name in place:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str) and found.strip():
            return found
    return None
