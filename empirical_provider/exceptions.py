"""Every error this package raises, in one tree, and so in one module, long as it is.

```text
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
├── TriggerRejectedError        the service said no in a 2xx answer, or names the run it refused
├── ReportNotWrittenError       the report on a run could not be written
├── WebhookRefusedError         a webhook that is not genuine, or cannot be read
└── GateClosedError             the verdict on a run closes the gate; it carries the verdict
    ├── TestsFailedError        tests failed
    ├── RunErroredError         the run has no usable result
    ├── RunCancelledError       somebody cancelled the run
    ├── RunSupersededError      a newer run took its place
    ├── NoTestsError            too few tests ran
    ├── RunIncompleteError      tests are missing from the result
    ├── WrongCommitError        another commit was tested than the one that was released
    └── WaitTimedOutError       we stopped waiting; the run's fate is not known
```

A message says what was asked of which host and path, what came back, and what to do. None ever
holds the API key or the value of an environment variable override.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from empirical_provider.models import TestRun
    from empirical_provider.verdict import VerdictDict

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
    "RunIncompleteError",
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

    * Retry: where ``may_pass`` is true.
    * Remedy: the message says it. An error of this very class is none of the others, such as one
      for a verdict that is asked for before there is any.

    Args:
        message: What happened and what to do about it.
        status: HTTP status of the answer, if there was one.
        run_id: Database id of the test run concerned, if it is known.
        run_url: Dashboard page of that run, if it is known.
        retry_after: Seconds that the service asked to wait, if it did.

    Attributes:
        may_pass (bool): Whether the same call, made again later, may succeed with nobody's help
            and without the risk of a second run; default False. Retries of every kind go by it.
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
    """The input is not valid: refused before sending, or by the service (400, 422, other 4xx).

    * Retry: in vain.
    * Remedy: correct the field that the message names. Where a key was used before for another
      request, give each release a key of its own.
    """


class AuthenticationError(EmpiricalError):
    """The API key was not accepted (401), or may not do this (403).

    A wait raises this once the run's own page has been refused for a minute.

    * Retry: in vain.
    * Remedy: check that the key is right, of the right project, and neither deleted nor disabled in
      the dashboard (Settings, API keys).
    """


class BillingError(EmpiricalError):
    """The organisation's billing blocks new test runs (402).

    * Retry: in vain.
    * Remedy: settle the organisation's billing with Empirical.
    """


class NotFoundError(EmpiricalError):
    """There is no such thing, or the key may not see it (404).

    * Retry: in vain. A wait has gone on for a minute before it raises this.
    * Remedy: check the id, the base URL, and that the key belongs to the right project.
    """


REJECTIONS = (AuthenticationError, NotFoundError)
"""How the service rejects a key that was rotated: who holds it may have the new one by now."""


class AlreadyFinishedError(EmpiricalError):
    """The test run is already in a terminal state (412).

    * Retry: in vain.
    * Remedy: none is needed to end it. Read the run for what became of it.
    """


class RateLimitedError(EmpiricalError):
    """Too many requests (429); ``retry_after`` holds the seconds the service asked to wait.

    * Retry: helps, once those seconds are over: nothing was acted on.
    * Remedy: ask less often, by a longer ``poll_interval`` for example.
    """

    may_pass = True


class ServerError(EmpiricalError):
    """The service failed (5xx).

    * Retry: helps, once the service is well again.
    * Remedy: try again later. If it may have started a run, `TriggerOutcomeUnknownError` comes
      instead.
    """

    may_pass = True


class NotSentError(EmpiricalError):
    """No connection could be made, so nothing was acted on.

    * Retry: helps, where the network has failed for a while.
    * Remedy: check the base URL, the network, the proxy settings and, where the service's
      certificate is not trusted, ``ca_bundle``.
    """

    may_pass = True


class NoAnswerError(EmpiricalError):
    """The request was sent, but the connection broke or timed out before the answer came.

    * Retry: helps, where the network or the service has failed for a while.
    * Remedy: try again later; give a longer ``timeout`` where answers take long. If it may have
      started a run, `TriggerOutcomeUnknownError` comes instead.
    """

    may_pass = True


class UnreadableAnswerError(EmpiricalError):
    """An answer came that the API does not give.

    It is not JSON, too large, redirected or incomplete; or it tells of something else than was
    asked for, or of a run that has ended with numbers of tests that no run can have.

    * Retry: does not help, unless the response was damaged on its way. A wait polls again until its
      deadline; if a finished run stays inconsistent for a minute, the wait ends with it, closed.
    * Remedy: check that the base URL is the address that Empirical itself answers on, and that no
      proxy answers in its place.

    Attributes:
        run (TestRun | None): The run as far as it could be read, where the response says that the
            run that was asked for has ended; its ``inconsistency`` says what cannot be true.
    """

    run: TestRun | None = None


class TriggerOutcomeUnknownError(EmpiricalError):
    """The request to start a run may have been acted on: a run may exist, or not.

    Sending it again could start a second run. The cause (``__cause__``) says what went wrong.

    * Retry: only with a key, which Airflow's operator and calls in a Prefect flow have by
      themselves: it looks for the run before it sends anything, and ``may_pass`` is true where it
      may see more then. Without one it may start a second run.
    * Remedy: look for the run in the dashboard. If it is there, wait for it by its id; if not,
      start one, with another key if there was one. A key that travels in the environment of the
      tests, as it does by default, has the run found instead.
    """


class TriggerRejectedError(EmpiricalError):
    """The service said that the test run was not started, in a 2xx answer or by naming the run.

    * Retry: in vain.
    * Remedy: the service's words, or the run's page, say why.
    """


class ReportNotWrittenError(EmpiricalError):
    """The report on a run could not be written, though the gate may be open.

    * Retry: helps, where the place of the report was away for a while: in a host it takes the run
      over and only writes.
    * Remedy: check that the place is there, has room, and may be written to.

    Args:
        message: The verdict's summary, if there is one yet, and what went wrong.
        verdict: The verdict as plain data (`empirical_provider.Verdict.as_dict`); None: not known.
        **about: As for `EmpiricalError`.
    """

    may_pass = True  # who tries again writes it again, for the same run

    def __init__(self, message: str, *, verdict: VerdictDict | None = None, **about: Any) -> None:
        super().__init__(message, **about)
        self.verdict = verdict


class WebhookRefusedError(EmpiricalError):
    """A webhook is not genuine, or cannot be read: its signature is missing, malformed or wrong.

    The text never holds a secret, the signature that would be right, or the body.

    * Retry: in vain.
    * Remedy: answer 401. If it is Empirical's, check the secret, and that the body is the one that
      was received, byte by byte.
    """


class GateClosedError(EmpiricalError):
    """The verdict on a test run closes the gate. The text starts with the run.

    * Retry: see the class of the outcome. In vain for one of this very class: the tests have
      passed, and the policy closes the gate even so.
    * Remedy: read ``verdict`` and the run's page, at ``run_url``; or change the policy.

    Args:
        message: The verdict's summary, with the failed tests by name.
        verdict: The verdict as plain data (`empirical_provider.Verdict.as_dict`). As an attribute
            never None: an error that was made without one has an empty mapping.
        **about: As for `EmpiricalError`.
    """

    verdict: VerdictDict

    def __init__(self, message: str, *, verdict: VerdictDict | None = None, **about: Any) -> None:
        super().__init__(message, **about)
        self.verdict = verdict or cast("VerdictDict", {})


class TestsFailedError(GateClosedError):
    """Tests failed, or more of them were flaky than the policy allows.

    * Retry: in vain, as the run stays red, unless ``on_retry_after_red`` has it run tests again.
    * Remedy: the text names the failed tests, the run's page shows them. Mend them or the
      application, and release anew.
    """

    __test__ = False


class RunErroredError(GateClosedError):
    """The run has no usable result.

    * Retry: of a task that starts runs: it starts another one.
    * Remedy: ``verdict["error_code"]``, where the service gives one, and the run's page say why.
    """


class RunCancelledError(GateClosedError):
    """Somebody cancelled the run, or a concurrency limit did.

    * Retry: of a task that starts runs: it starts another one.
    * Remedy: ask who cancelled it; look at the project's concurrency limit and the ``concurrency``
      of the request.
    """


class RunSupersededError(GateClosedError):
    """A newer run took the place of this one.

    * Retry: in vain: another run would take the newer one's place in turn.
    * Remedy: go by the newer run. With the policy ``{"superseded": "skip"}`` the older release is
      skipped instead.
    """


class NoTestsError(GateClosedError):
    """Fewer tests ran than the policy asks for.

    * Retry: in vain: the run stays as it is.
    * Remedy: check ``tags`` and ``test_case_ids``, which a preflight does before the release, and
      the policy's ``min_tests``.
    """


class RunIncompleteError(GateClosedError):
    """The run has ended without a failure that counts, and tests are missing from its result.

    * Retry: in vain: the run stays as it is.
    * Remedy: look at the run's page for a shard or a worker that died, and start a new run.
    """


class WrongCommitError(GateClosedError):
    """The run has tested another commit than the one that was released.

    * Retry: in vain: the run stays as it is.
    * Remedy: see to it that the environment serves the released commit before the tests start. If
      the build's commit is not what is tested there, ``expect_commit`` says which one is.
    """


class WaitTimedOutError(GateClosedError):
    """We stopped waiting; the run goes on, and its fate is not known.

    * Retry: waits on for the same run, in a task that goes by a key or only waits.
    * Remedy: look at the run's page; give a longer ``timeout`` or ``start_timeout``.
    """
