"""What is told of a run's end, and to whom: the verdict, if the watcher's filter lets it pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from empirical_provider import checks
from empirical_provider.policy import GatePolicy, Outcome

if TYPE_CHECKING:  # a DAG's parsing pays for the filter alone
    from empirical_provider.ended_runs import Cursor, Look
    from empirical_provider.verdict import Verdict

__all__ = ["EndFilter"]

_NEVER = {Outcome.TIMED_OUT, Outcome.WRONG_COMMIT}
"""Nobody waits, and nobody expects a commit."""

_OUTCOMES = [outcome.value for outcome in Outcome if outcome not in _NEVER]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFilter:
    """Which ends of runs are told. None lets all pass; what is not known passes no other filter.

    Args:
        environment: Slug of the environment, or a list of them.
        branch: Branch of the test repository, or a list of them.
        outcome: ``passed``, ``failed``, ``error``, ``cancelled``, ``superseded``, ``no_tests`` or
            ``incomplete``, or a list of them.
        policy: What the verdicts go by: a `GatePolicy`, a mapping of its fields, or the default.

    Raises:
        InvalidRequestError: A value is not valid; the message names its field.
    """

    environment: str | Iterable[str] | None = None
    branch: str | Iterable[str] | None = None
    outcome: str | Iterable[str] | None = None
    policy: GatePolicy | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("environment", "branch", "outcome"):
            given = getattr(self, name)
            if given is not None:
                some = [given] if isinstance(given, str) else given
                object.__setattr__(self, name, checks.list_of_lines(name, some))
        for each in self.outcome or ():
            checks.one_of("outcome", each, _OUTCOMES)
        object.__setattr__(self, "policy", GatePolicy.of(self.policy))

    def tell(self, cursor: Cursor | None, look: Look) -> tuple[list[Verdict], Cursor]:
        """Return what a look tells a watcher, and its cursor after that; a first look nothing."""
        if cursor is None:
            from empirical_provider.ended_runs import Cursor  # noqa: PLC0415  # as above

            return [], Cursor.start(look)
        return [*self.events(cursor, look)], cursor.after(look)

    def events(self, cursor: Cursor, look: Look) -> Iterator[Verdict]:
        """Give the verdicts that a look has to tell the watcher with this cursor."""
        from empirical_provider.verdict import judge  # noqa: PLC0415  # as above

        for run in cursor.news(look):
            verdict = judge(run, GatePolicy.of(self.policy))
            if self.accepts(verdict):
                yield verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the filter as plain data: the arguments that make the same one."""
        texts = {name: getattr(self, name) for name in ("environment", "branch", "outcome")}
        given = {name: None if value is None else list(value) for name, value in texts.items()}
        return {**given, "policy": GatePolicy.of(self.policy).as_dict()}

    def identity(self) -> dict[str, Any]:
        """Return what tells the filter from others, for stored names: all but the defaults."""
        filters = {name: value for name, value in self.as_dict().items() if value is not None}
        return {**filters, "policy": GatePolicy.of(self.policy).changes()}

    def accepts(self, verdict: Verdict) -> bool:
        """Say whether the end of this run is told."""
        pairs: tuple[tuple[Any, str | None], ...] = (
            (self.environment, verdict.environment),
            (self.branch, verdict.branch),
            (self.outcome, str(verdict.outcome)),
        )
        return all(wanted is None or given in wanted for wanted, given in pairs)
