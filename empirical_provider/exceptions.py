"""Every error this package raises, in one tree.

::

    EmpiricalError
    ├── InvalidRequestError         bad input: refused here, or by the service (also a ValueError)
    ├── AuthenticationError         401, 403
    ├── BillingError                402
    ├── NotFoundError               404
    ├── AlreadyFinishedError        412
    ├── RateLimitedError            429, with the wait that was asked for
    ├── ServerError                 5xx
    ├── NotSentError                no connection: nothing was acted on
    ├── NoAnswerError               sent, but the answer did not come
    ├── UnreadableAnswerError       an answer came, but it makes no sense
    ├── TriggerOutcomeUnknownError  a run may have been started, or not
    ├── TriggerRejectedError        the service said no in a 2xx answer
    ├── ReportNotWrittenError       the report on a run could not be written
    ├── WebhookRefusedError         a webhook that is not genuine, or cannot be read
    └── GateClosedError             the verdict on a run closes the gate; it carries the verdict
        ├── TestsFailedError        tests failed
        ├── RunErroredError         the run has no usable result
        ├── RunCancelledError       somebody cancelled the run
        ├── RunSupersededError      a newer run took its place
        ├── NoTestsError            too few tests ran
        ├── WrongCommitError        another commit was tested than the one that was released
        └── WaitTimedOutError       we stopped waiting; the run's fate is not known

A message says what was asked of which host and path, what came back, and what to do. None ever
holds the API key or the value of an environment variable override.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AlreadyFinishedError",
    "AuthenticationError",
    "BillingError",
    "EmpiricalError",
    "GateClosedError",
    "InvalidRequestError",
    "NoAnswerError",
    "NoTestsError",
    "NotFoundError",
    "NotSentError",
    "RateLimitedError",
    "ReportNotWrittenError",
    "RunCancelledError",
    "RunErroredError",
    "RunSupersededError",
    "ServerError",
    "TestsFailedError",
    "TriggerOutcomeUnknownError",
    "TriggerRejectedError",
    "UnreadableAnswerError",
    "WaitTimedOutError",
    "WebhookRefusedError",
    "WrongCommitError",
]


class EmpiricalError(Exception):
    """Base of all errors of this package.

    Every attribute is plain data, so that an error survives pickling between processes.

    Args:
        message: What happened and what to do about it.
        status: HTTP status of the answer, if there was one.
        run_id: Database id of the test run concerned, if it is known.
        run_url: Dashboard page of that run, if it is known.
        retry_after: Seconds that the service asked to wait, if it did.

    Attributes:
        may_pass: Whether the same call, made again later, may succeed with nobody's help and
            without the risk of a second run. Retries of every kind go by it.
    """

    may_pass = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        run_id: int | None = None,
        run_url: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.run_id = run_id
        self.run_url = run_url
        self.retry_after = retry_after


class InvalidRequestError(EmpiricalError, ValueError):
    """The input is not valid: refused before sending, or by the service (400, 422, other 4xx)."""


class AuthenticationError(EmpiricalError):
    """The API key was not accepted (401), or may not do this (403)."""


class BillingError(EmpiricalError):
    """The organisation's billing blocks new test runs (402)."""


class NotFoundError(EmpiricalError):
    """There is no such thing, or the key may not see it (404)."""


class AlreadyFinishedError(EmpiricalError):
    """The test run is already in a terminal state (412)."""


class RateLimitedError(EmpiricalError):
    """Too many requests (429); ``retry_after`` holds the seconds the service asked to wait."""

    may_pass = True


class ServerError(EmpiricalError):
    """The service failed (5xx)."""

    may_pass = True


class NotSentError(EmpiricalError):
    """No connection could be made, so nothing was acted on."""

    may_pass = True


class NoAnswerError(EmpiricalError):
    """The request was sent, but the connection broke or timed out before the answer came."""

    may_pass = True


class UnreadableAnswerError(EmpiricalError):
    """An answer came that the API does not give.

    It is not JSON, too large, redirected or incomplete; or it tells of something else than was
    asked for, or of a run that has ended with numbers of tests that no run can have.
    """


class TriggerOutcomeUnknownError(EmpiricalError):
    """The request to start a run may have been acted on: a run may exist, or not.

    Sending it again could start a second run. The cause (``__cause__``) says what went wrong.
    """


class TriggerRejectedError(EmpiricalError):
    """The service answered 2xx and said that the test run was not started."""


class ReportNotWrittenError(EmpiricalError):
    """The report on a run could not be written, though the gate may be open.

    Args:
        message: The verdict's summary, if there is one yet, and what went wrong.
        verdict: The verdict as plain data (`empirical_provider.Verdict.as_dict`); None: not known.
        **about: As for `EmpiricalError`.
    """

    may_pass = True  # who tries again writes it again, for the same run

    def __init__(
        self, message: str, *, verdict: dict[str, Any] | None = None, **about: Any
    ) -> None:
        super().__init__(message, **about)
        self.verdict = verdict


class WebhookRefusedError(EmpiricalError):
    """A webhook is not genuine, or cannot be read: its signature is missing, malformed or wrong.

    The text never holds a secret, the signature that would be right, or the body.
    """


class GateClosedError(EmpiricalError):
    """The verdict on a test run closes the gate. The text starts with the run.

    Args:
        message: The verdict's summary, with the failed tests by name.
        verdict: The verdict as plain data (`empirical_provider.Verdict.as_dict`).
        **about: As for `EmpiricalError`.
    """

    def __init__(
        self, message: str, *, verdict: dict[str, Any] | None = None, **about: Any
    ) -> None:
        super().__init__(message, **about)
        self.verdict = verdict


class TestsFailedError(GateClosedError):
    """Tests failed."""

    __test__ = False


class RunErroredError(GateClosedError):
    """The run has no usable result."""


class RunCancelledError(GateClosedError):
    """Somebody cancelled the run, or a concurrency limit did."""


class RunSupersededError(GateClosedError):
    """A newer run took the place of this one."""


class NoTestsError(GateClosedError):
    """Fewer tests ran than the policy asks for."""


class WrongCommitError(GateClosedError):
    """The run has tested another commit than the one that was released."""


class WaitTimedOutError(GateClosedError):
    """We stopped waiting; the run goes on, and its fate is not known."""
