"""Secrets in a form that a traceback with locals, as error trackers take them, does not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Secret", "hidden_overrides", "hidden_texts", "hide"]


class Secret(str):
    """A text that is itself wherever it is used, but for its repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hide(value: Any) -> Any:
    """Return a text as a `Secret`, and anything else as it is."""
    return Secret(value) if isinstance(value, str) else value


def hidden_overrides(value: Any) -> Any:
    """Return overrides, in whatever form users give them, with their values hidden.

    Nothing is refused here: what is no form of overrides stays what it is.
    """
    if isinstance(value, Mapping):
        return {name: hide(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_hidden_item(each) for each in value]
    return hide(value)


def _hidden_item(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return hide(item)
    return {key: each if key == "name" else hide(each) for key, each in item.items()}


def hidden_texts(value: Any) -> Any:
    """Return texts as secrets, and None for what is no text, or for what is no list of them."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [None]
    return [Secret(each) if isinstance(each, str) else None for each in value]
