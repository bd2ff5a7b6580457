"""What the author of a DAG has written out is checked when the DAG is parsed, not after the deploy.

What is only known when the task runs (templates, the output of other tasks, callables) waits until
it is rendered; `requesting` checks it then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from empirical_provider.airflow.rendered import as_field, refuse_leftovers
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.wait_options import commit_to_expect

__all__ = ["check_literal_commit", "check_literals"]


def check_literals(task: Any, names: Iterable[str]) -> None:
    """Check those fields of a request that are written out in the DAG.

    Args:
        task: The task that is being made.
        names: Its fields of the request.

    Raises:
        InvalidRequestError: One is not valid, or two exclude each other; the message names them.
    """
    if getattr(task, "_BaseOperator__from_mapped", False):
        return  # by now it runs, and all its fields are checked together
    given = {name: getattr(task, name) for name in names}
    if given.get("branch") is not None and given.get("build") not in (None, {}):
        raise InvalidRequestError(
            "build and branch cannot be given together: branch names a branch of the test "
            "repository, and with a build Empirical derives it from build.branch."
        )
    written = {
        name: as_field(name, value)
        for name, value in given.items()
        if not _is_empty(value) and _is_literal(value)
    }
    if written:
        from empirical_provider.request import check_fields  # not for DAGs without literals

        refuse_leftovers(written)
        check_fields(written)


def check_literal_commit(expected: object) -> None:
    """Check the commit that a task expects, if it is written out in the DAG.

    Raises:
        InvalidRequestError: It is none, or a hash that is too short.
    """
    if expected is not None and _is_literal(expected):
        commit_to_expect(as_field("expect_commit", expected))


def _is_empty(value: object) -> bool:
    return value is None or (type(value) in (dict, list, tuple) and not value)


def _is_literal(value: object) -> bool:
    """Say whether a value stands in the DAG as it will be sent."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if type(value) is dict:
        return all(_is_literal(each) for pair in value.items() for each in pair)
    if type(value) in (list, tuple):
        return all(map(_is_literal, value))  # type: ignore[call-overload]
    return value is None or isinstance(value, (bool, int, float))
