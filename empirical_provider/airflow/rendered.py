"""Values as Airflow hands them over: rendered templates and form fields are text.

What is not text in the end is turned back here, and what a native rendering took for a number is
made text again; whether it is valid is for the core to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import hidden_overrides

__all__ = [
    "REQUEST_FIELDS",
    "HiddenValues",
    "as_boolean",
    "as_field",
    "as_integer",
    "as_number",
    "as_run_id",
    "given_fields",
    "plain",
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


Given = Mapping[str, frozenset[str]]
"""The fields that hold something before they are rendered, each with those of its members that the
author of the DAG has set to None."""


def given_fields(task: Any) -> Given:
    """Return which template fields of a task that is being made hold something to be rendered."""
    return _holding_something({name: getattr(task, name, None) for name in task.template_fields})


def _holding_something(fields: Mapping[str, Any]) -> Given:
    return {
        name: frozenset(member for member, each in value.items() if each is None)
        if type(value) is dict
        else frozenset()
        for name, value in fields.items()
        if value is not None and (value or type(value) not in (dict, list, tuple))
    }


def _given_to_each_index(task: Any) -> Given:
    """Return the same for a mapped task, which is made of what the tasks before have returned.

    What it gets from ``expand`` or ``expand_kwargs`` is given, None as well.
    """
    mapped = task.dag.task_dict.get(task.task_id) if task.has_dag() else None
    partial = getattr(mapped, "partial_kwargs", None)
    if partial is None:
        return {}
    passed = getattr(task, "_BaseOperator__init_kwargs", {})
    expanded = [name for name in passed if name in task.template_fields and name not in partial]
    fixed = {name: partial[name] for name in task.template_fields if name in partial}
    return {**_holding_something(fixed), **dict.fromkeys(expanded, frozenset())}


def refuse_nothing(task: Any, given: Given) -> None:
    """Refuse a field that was given, and of which its template, or the task before, made nothing.

    It would count as not given: any commit would do, or the connection's environment be tested.

    Args:
        task: The task, whose fields are rendered.
        given: Its `given_fields`.

    Raises:
        InvalidRequestError: There is one; the message names it.
    """
    for name, left_out in (_given_to_each_index(task) or given).items():
        value = getattr(task, name, None)
        if value is None or (name not in _FREE_TEXT and value in ({}, [], ())):
            raise _nothing(name, value)
        for member, each in value.items() if isinstance(value, Mapping) else ():
            if each is None and member not in left_out and name not in _FREE_TEXT:
                raise _nothing(f"{name}.{member}", each)


def _nothing(name: str, value: object) -> InvalidRequestError:
    what = "it is of type NoneType" if value is None else "it is empty"
    return InvalidRequestError(
        f"{name} must have a value, or be left out; {what}: its template, or the task that it "
        "comes from, has none."
    )


def _texts(where: str, value: Any) -> Iterable[tuple[str, str]]:
    """Give the texts in a field, with the place where each stands."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(f"{where}.{key}", each)
    elif _is_listed(value):
        for place, each in enumerate(value):
            yield from _texts(f"{where}[{place}]", each)


_SHAPES: dict[str, tuple[type, ...]] = {
    "build": (dict,),
    "metadata": (dict,),
    "concurrency": (dict,),
    "environment_variables_overrides": (dict, list),
    "tags": (list,),
    "test_case_ids": (list,),
}
"""The fields that are more than one text, and what JSON for them may be."""


def plain(value: Any) -> Any:
    """Return a `Build` and the like as a mapping: Airflow renders templates in those only."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    names = getattr(value, "__dataclass_fields__", None)
    if names is None:
        return value
    given = {name: getattr(value, name) for name in names}
    return {name: each for name, each in given.items() if each is not None}


def as_field(name: str, value: Any) -> Any:
    """Return a field's value in the type that the field has, as far as it can be told.

    A template makes text of everything, or, with ``render_template_as_native_obj``, a number of
    digits that are meant as text.

    Args:
        name: Name of the field.
        value: What it is once it is rendered.

    Raises:
        InvalidRequestError: It is text where a mapping or a list is needed, and no JSON of one; or
            a float where a text is meant, which no longer tells what the text was.
    """
    if name == "total_shards":
        return as_integer(value)
    if name == "send_notifications":
        return as_boolean(value)
    if name == "concurrency" and as_boolean(value) is False:
        return False
    if name in _SHAPES and isinstance(value, str):
        value = _from_json(name, value)
        if isinstance(value, str):
            what = "a list of strings" if _SHAPES[name] == (list,) else "a mapping"
            raise InvalidRequestError(
                f"{name} must be {what}, not str: pass the output of the task before (such as "
                "deploy.output), a mapping or list of templates, or text that is JSON; or have "
                "Airflow render natively."
            )
    if name == "metadata":  # its values may be numbers
        return value
    _refuse_floats(name, value)
    return _with_digits(value)


def _from_json(name: str, text: str) -> Any:
    """Return what a text is JSON of, if that has the field's shape, else the text."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            read = json.loads(text)
        except ValueError:
            return text
        if isinstance(read, _SHAPES[name]):
            return read
    return text


def _refuse_floats(where: str, value: Any) -> None:
    if isinstance(value, float):
        raise InvalidRequestError(
            f"{where} must be a text, not a float. If its template is rendered natively, write "
            "\"'{{ ... }}'\", which keeps the text as it is."
        )
    if isinstance(value, Mapping):
        for key, each in value.items():
            _refuse_floats(f"{where}.{key}", each)
    elif _is_listed(value):
        for place, each in enumerate(value):
            _refuse_floats(f"{where}[{place}]", each)


def _with_digits(value: Any) -> Any:
    """Return integers as their digits, and any sequence as a list."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _with_digits(each) for key, each in value.items()}
    return [_with_digits(each) for each in value] if _is_listed(value) else value


def _is_listed(value: object) -> bool:
    """Say whether a value is a list, or a sequence that Airflow reads as it is used."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


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
        name = "environment_variables_overrides"
        read = _from_json(name, values) if isinstance(values, str) else values
        self.values = hidden_overrides(_with_digits(read))

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
