"""What the command's exit status says: one number for each way in which things can end."""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from empirical_provider import exceptions
from empirical_provider.exceptions import EmpiricalError
from empirical_provider.policy import Decision, Outcome
from empirical_provider.verdict import Verdict

__all__ = ["ExitCode", "exit_code_of_error", "exit_code_of_verdict", "table"]


class ExitCode(IntEnum):
    """An exit status, with what it means."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member of a number and its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    GREEN = 0, "green: the gate is open, or what was asked for was done"
    RED = 1, "red: tests failed, or the policy closes the gate on what passed"
    USAGE = 2, "usage: a wrong option, or no such environment or run, or one that has ended already"
    AUTHENTICATION = 3, "authentication: the key is refused, or billing blocks the project"
    ERROR_RUN = 4, "error run: the run has no usable result, or was not started"
    CANCELLED = 5, "cancelled or superseded: also by your own Ctrl-C"
    NO_TESTS = 6, "no tests: fewer ran than the policy asks for"
    TIMED_OUT = 7, "timed out: the run goes on; it is told how to resume"
    UNKNOWN = 8, "outcome unknown: a run may have been started, or not"
    NETWORK = 9, "network: the service cannot be reached, fails, or makes no sense"
    NO_REPORT = 10, "no report: the gate is open, but the report that was asked for is not there"
    WRONG_COMMIT = 11, "wrong commit: another one was tested than the one expected"
    INCOMPLETE = 12, "incomplete: tests are missing from the result"
    LEFT = 130, "interrupted: the run, if there is one, was left as it is"


_OF_OUTCOME = {
    Outcome.PASSED: ExitCode.RED,  # closed all the same
    Outcome.FAILED: ExitCode.RED,
    Outcome.ERROR: ExitCode.ERROR_RUN,
    Outcome.CANCELLED: ExitCode.CANCELLED,
    Outcome.SUPERSEDED: ExitCode.CANCELLED,
    Outcome.NO_TESTS: ExitCode.NO_TESTS,
    Outcome.INCOMPLETE: ExitCode.INCOMPLETE,
    Outcome.WRONG_COMMIT: ExitCode.WRONG_COMMIT,
    Outcome.TIMED_OUT: ExitCode.TIMED_OUT,
}

_OF_ERROR: dict[type[EmpiricalError], ExitCode] = {
    exceptions.InvalidRequestError: ExitCode.USAGE,
    exceptions.NotFoundError: ExitCode.USAGE,
    exceptions.AlreadyFinishedError: ExitCode.USAGE,
    exceptions.AuthenticationError: ExitCode.AUTHENTICATION,
    exceptions.BillingError: ExitCode.AUTHENTICATION,
    exceptions.TriggerRejectedError: ExitCode.ERROR_RUN,
    exceptions.TriggerOutcomeUnknownError: ExitCode.UNKNOWN,
    exceptions.ReportNotWrittenError: ExitCode.NO_REPORT,
}


def exit_code_of_verdict(verdict: Verdict) -> ExitCode:
    """Return the status of a verdict. A skip is not green: who tests before a release stops."""
    return ExitCode.GREEN if verdict.decision == Decision.PASS else _OF_OUTCOME[verdict.outcome]


def exit_code_of_error(error: EmpiricalError) -> ExitCode:
    """Return the status of an error; what is none of the others is the network's or service's."""
    return next(
        (code for kind, code in _OF_ERROR.items() if isinstance(error, kind)), ExitCode.NETWORK
    )


def table() -> str:
    """Return all of them as a table in Markdown."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| exit status | meaning |", "| ---: | --- |", *rows])
