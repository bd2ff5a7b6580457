"""Values as Airflow hands them over: rendered templates and form fields are text.

What is not text in the end is turned back here; whether it is valid is for the core to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import hidden_overrides

__all__ = [
    "REQUEST_FIELDS",
    "HiddenValues",
    "as_boolean",
    "as_integer",
    "as_number",
    "as_run_id",
    "given_fields",
    "refuse_leftovers",
    "refuse_nothing",
]

REQUEST_FIELDS = (
    "environment",
    "build",
    "branch",
    "metadata",
    "environment_variables_overrides",
    "tags",
    "test_case_ids",
    "total_shards",
    "send_notifications",
    "github_actor",
    "concurrency",
)
"""The fields of a request, all of which an operator takes as templates."""


_FREE_TEXT = ("metadata", "environment_variables_overrides")
"""Fields whose values may be any text: a commit message, or a template for the application."""


def refuse_leftovers(fields: Mapping[str, Any]) -> None:
    """Refuse what a template leaves behind that was not rendered, or that has found nothing.

    Raises:
        InvalidRequestError: A text holds ``{{`` or ``{%``, or is "None"; the message names it.
    """
    for name, value in fields.items():
        given = [] if value is None or name in _FREE_TEXT else _texts(name, value)
        for where, text in given:
            if "{{" in text or "{%" in text:
                raise InvalidRequestError(
                    f"{where} holds a template that was not rendered: '{{{{' or '{{%' stands in it."
                )
            if text.strip() == "None":
                raise InvalidRequestError(
                    f"{where} is the text 'None': its template finds nothing."
                )


def given_fields(task: Any) -> tuple[str, ...]:
    """Return which template fields of a task that is being made hold something to be rendered.

    Of a mapping, such as a build, its members as well, as ``build.commit``.
    """
    given = []
    for name in task.template_fields:
        value = getattr(task, name, None)
        if value is not None:
            given.append(name)
        if type(value) is dict:
            given += [f"{name}.{member}" for member, each in value.items() if each is not None]
    return tuple(given)


def refuse_nothing(task: Any, given: Iterable[str]) -> None:
    """Refuse a field that was given, and of which its template, or the task before, has made None.

    It would count as not given: any commit would do, or the connection's environment be tested.

    Raises:
        InvalidRequestError: There is one; the message names it.
    """
    for name in given:
        field, _, member = name.partition(".")
        value = getattr(task, field, None)
        if member and isinstance(value, Mapping):
            value = value.get(member, "")
        if value is None:
            raise InvalidRequestError(
                f"{name} must have a value, or be left out; it is of type NoneType: its template "
                "finds nothing."
            )


def _texts(where: str, value: Any) -> Iterable[tuple[str, str]]:
    """Give the texts in a field, with the place where each stands."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(f"{where}.{key}", each)
    elif isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            yield from _texts(f"{where}[{place}]", each)


def as_integer(value: Any) -> Any:
    """Return the integer that a text holds, else the value as it is."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value) else value


def as_run_id(value: Any) -> int:
    """Return the id of a run, given as a number or as a text of digits.

    Raises:
        InvalidRequestError: It is neither; an empty template or "None" is the usual case.
    """
    return checks.run_id("test_run_id", value)


def as_number(value: Any) -> Any:
    """Return the number that a text holds, else the value as it is."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return float(value)
    return value


def as_boolean(value: Any) -> Any:
    """Return the boolean that a text holds (True, true, False, false), else the value as it is."""
    words = {"true": True, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


class HiddenValues:
    """Rendered overrides, of which Airflow may show the names and never the values.

    Airflow keeps every rendered field in its database. Its masking alone does not help there: it
    passes over short values, and 3.0 does not mask rendered fields at all.
    """

    def __init__(self, values: Any) -> None:
        self.values = hidden_overrides(values)

    def serialize(self) -> dict[str, str]:
        """Return what Airflow stores and shows."""
        return dict.fromkeys(self._names(), "***")

    def __str__(self) -> str:
        return str(self.serialize())

    __repr__ = __str__

    def _names(self) -> Iterable[str]:
        if isinstance(self.values, Mapping):
            return [str(name) for name in self.values]
        if isinstance(self.values, (list, tuple)):
            return [
                str(each.get("name", "?")) if isinstance(each, Mapping) else "?"
                for each in self.values
            ]
        return ["?"]

    def secrets(self) -> Iterable[str]:
        """Return the values themselves, for the host's masking."""
        if isinstance(self.values, Mapping):
            found = list(self.values.values())
        elif isinstance(self.values, (list, tuple)):
            found = [each.get("value") for each in self.values if isinstance(each, Mapping)]
        else:
            found = [self.values]
        return [str(each) for each in found if isinstance(each, str) and each]
