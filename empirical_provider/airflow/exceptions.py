"""What a task raises when the gate stays closed: Airflow's exceptions and the core's in one.

```text
AirflowException
├── AirflowFailException                  no retry is burned
│   ├── EmpiricalTestsFailedError         tests failed
│   ├── EmpiricalRunIncompleteError       tests are missing from the result
│   ├── EmpiricalWrongCommitError         another commit was tested than was released
│   └── EmpiricalGateClosedError          the tests passed, and the policy closes the gate then
├── EmpiricalTestsFailedRetryError        tests failed, and a retry is to re-run them
├── EmpiricalRunErroredError              the run has no usable result
├── EmpiricalRunCancelledError            somebody cancelled the run
├── EmpiricalRunSupersededError           a newer run took its place
├── EmpiricalNoTestsError                 too few tests ran
├── EmpiricalWaitTimedOutError            we stopped waiting; the run's fate is not known
└── EmpiricalTaskKilledError              the task was ended from outside while it waited
```

Each but the last is also the core's error of the same outcome, so that
``except empirical_provider.TestsFailedError`` catches it, and carries ``verdict`` (plain data),
``run_id`` and ``run_url``. The text starts with the run and holds its link.
"""

from __future__ import annotations

from empirical_provider import exceptions as core
from empirical_provider.airflow.versions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)
from empirical_provider.policy import Decision, Outcome
from empirical_provider.verdict import Verdict

__all__ = [
    "EmpiricalGateClosedError",
    "EmpiricalNoTestsError",
    "EmpiricalRunCancelledError",
    "EmpiricalRunErroredError",
    "EmpiricalRunIncompleteError",
    "EmpiricalRunSupersededError",
    "EmpiricalTaskKilledError",
    "EmpiricalTestsFailedError",
    "EmpiricalTestsFailedRetryError",
    "EmpiricalWaitTimedOutError",
    "EmpiricalWrongCommitError",
    "raise_if_closed",
]


class EmpiricalTestsFailedError(core.TestsFailedError, AirflowFailException):
    """Tests failed.

    * Retry: none is burned: running the tests again is no remedy.
    * Remedy: that of `TestsFailedError`.
    """


class EmpiricalTestsFailedRetryError(core.TestsFailedError, AirflowException):
    """Tests failed, and ``on_retry_after_red`` says that a retry is to re-run them.

    * Retry: re-runs them, if there is one left.
    * Remedy: that of `TestsFailedError`.
    """


class EmpiricalGateClosedError(core.GateClosedError, AirflowFailException):
    """The tests passed, and the policy closes the gate even so.

    * Retry: none is burned.
    * Remedy: change the policy.
    """


class EmpiricalRunErroredError(core.RunErroredError, AirflowException):
    """The run has no usable result.

    * Retry: the operator's starts another run, the sensor's finds the same.
    * Remedy: that of `RunErroredError`.
    """


class EmpiricalRunCancelledError(core.RunCancelledError, AirflowException):
    """Somebody cancelled the run, or a concurrency limit did.

    * Retry: the operator's starts another run, the sensor's finds the same.
    * Remedy: that of `RunCancelledError`.
    """


class EmpiricalRunSupersededError(core.RunSupersededError, AirflowException):
    """A newer run took the place of this one.

    * Retry: the operator's starts another run, which may take the newer one's place in turn; the
      sensor's finds the same.
    * Remedy: that of `RunSupersededError`.
    """


class EmpiricalNoTestsError(core.NoTestsError, AirflowException):
    """Fewer tests ran than the policy asks for.

    * Retry: in vain: it finds the same run, unless the operator has ``durable=False``.
    * Remedy: that of `NoTestsError`.
    """


class EmpiricalRunIncompleteError(core.RunIncompleteError, AirflowFailException):
    """Tests are missing from the result.

    * Retry: none is burned: it would find the same run.
    * Remedy: that of `RunIncompleteError`. Clear the task to start a new run.
    """


class EmpiricalWrongCommitError(core.WrongCommitError, AirflowFailException):
    """Another commit was tested than was released.

    * Retry: none is burned: it would find the same run.
    * Remedy: that of `WrongCommitError`.
    """


class EmpiricalWaitTimedOutError(core.WaitTimedOutError, AirflowException):
    """We stopped waiting; the run's fate is not known.

    * Retry: waits on for the same run, for the whole ``timeout`` again; retries of a sensor in mode
      ``reschedule`` share it.
    * Remedy: that of `WaitTimedOutError`.
    """


class EmpiricalTaskKilledError(core.EmpiricalError, AirflowException):
    """The task was ended from outside while it waited; there is no verdict.

    * Retry: goes on with the run; the operator's starts another one where it was cancelled.
    * Remedy: the text says whether the run was asked to stop. Clear the task to test afresh.
    """


_CLASSES: dict[Outcome, type[core.GateClosedError]] = {
    Outcome.PASSED: EmpiricalGateClosedError,
    Outcome.FAILED: EmpiricalTestsFailedError,
    Outcome.ERROR: EmpiricalRunErroredError,
    Outcome.CANCELLED: EmpiricalRunCancelledError,
    Outcome.SUPERSEDED: EmpiricalRunSupersededError,
    Outcome.NO_TESTS: EmpiricalNoTestsError,
    Outcome.INCOMPLETE: EmpiricalRunIncompleteError,
    Outcome.WRONG_COMMIT: EmpiricalWrongCommitError,
    Outcome.TIMED_OUT: EmpiricalWaitTimedOutError,
}


def raise_if_closed(verdict: Verdict, *, retry_red: bool = False) -> None:
    """Raise what Airflow needs to know of a verdict; return if the gate is open.

    Args:
        verdict: The verdict.
        retry_red: Whether red tests, too, are left to Airflow's retries.

    Raises:
        GateClosedError: The gate stays closed; the class is one of this module's.
        AirflowSkipException: The policy skips the task.
    """
    if verdict.decision == Decision.SKIP:
        raise AirflowSkipException(verdict.summary)
    if verdict.decision == Decision.FAIL:
        error = verdict.error()
        again = retry_red and verdict.outcome == Outcome.FAILED
        raise (EmpiricalTestsFailedRetryError if again else _CLASSES[verdict.outcome])(
            str(error), verdict=error.verdict, run_id=error.run_id, run_url=error.run_url
        )
