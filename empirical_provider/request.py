"""What goes to Empirical: the request to start a test run, as frozen data.

It is checked when it is made, so that bad input fails before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import Secret, hidden_overrides

__all__ = ["Build", "Concurrency", "EnvironmentVariable", "TestRunRequest", "check_fields"]

_T = TypeVar("_T")


def _made_from(kind: type[_T], name: str, value: object) -> _T:
    """Return ``value`` if it is one of ``kind`` already, else make one from a mapping."""
    if isinstance(value, kind):
        return value
    given = checks.as_mapping(name, value)
    checks.known_keys(name, given, [each.name for each in fields(cast("Any", kind))])
    return kind(**given)


def _set_fields(item: object) -> dict[str, Any]:
    """Return the fields of a dataclass that hold something."""
    values = {each.name: getattr(item, each.name) for each in fields(cast("Any", item))}
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The application build under test; every field is optional.

    Args:
        url: http(s) address; tests see it as ``BUILD_URL`` unless the overrides set that name.
        branch: Application branch. Empirical derives the branch of the test repository from it.
        commit: Commit of the application, for reports.
        commit_url: http(s) address of the commit.
        version: Version of the application, for reports.

    Raises:
        InvalidRequestError: A field has the wrong type, is empty, or is no http(s) URL.
    """

    url: str | None = None
    branch: str | None = None
    commit: str | None = None
    commit_url: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        for name, value in _set_fields(self).items():
            check = checks.http_url if name.endswith("url") else checks.line
            check(f"build.{name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How a run shares its turn with others of the same group.

    Args:
        group: Name of the group, 1 to 512 characters.
        on_conflict: ``cancel`` or ``wait``: what happens when the group is busy.

    Raises:
        InvalidRequestError: A field is missing, too long, or none of the allowed words.
    """

    group: str | None = None
    on_conflict: str | None = None

    def __post_init__(self) -> None:
        checks.line("concurrency.group", self.group, longest=512)
        checks.one_of("concurrency.on_conflict", self.on_conflict, ("cancel", "wait"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """One variable of the environment, overridden for one run.

    Args:
        name: Name of the variable.
        value: Its value, a secret: it is not in the repr.
    """

    name: str
    value: str = field(repr=False)


def _hiding_overrides(kind: type[_T]) -> type[_T]:
    """Have a class hide the values of its overrides before anything can fail over another field."""
    init: Callable[..., None] = kind.__init__
    name = "environment_variables_overrides"

    @wraps(init)
    def hiding(self: _T, **given: Any) -> None:
        given[name] = hidden_overrides(given.get(name))
        init(self, **given)

    setattr(kind, "__init__", hiding)  # noqa: B010  # mypy takes an assignment for a mistake
    return kind


@_hiding_overrides
@dataclass(frozen=True, slots=True, kw_only=True)
class TestRunRequest:
    """A request to start a test run; checked when it is made.

    Field names and meaning are those of ``PUT /api/test-runs``. What is ``None`` (or an empty
    mapping) is left out of the body.

    Args:
        environment: Slug of the environment, for example ``staging``.
        build: The application build under test, a `Build` or a mapping of its fields. Not together
            with ``branch``.
        branch: Branch of the *test* repository; it must exist there.
        metadata: Flat mapping; values are strings or numbers.
        environment_variables_overrides: Variables to override for this run: a mapping of name to
            value, or a list of ``{"name": ..., "value": ...}``. Values are treated as secrets.
        tags: Only tests that match these tags run.
        test_case_ids: Only these tests run (undocumented in the API, seen in use).
        total_shards: Number of shards, at least 1.
        send_notifications: Whether Empirical sends its notifications.
        github_actor: GitHub login that is shown as the person who started the run.
        concurrency: A `Concurrency` or a mapping of its fields; or False to keep the run out of the
            project's shared queue, where a newer run can take the place of one that waits; default
            None: as the project is set up.

    Raises:
        InvalidRequestError: A field is not valid; the message names it and what is allowed.
    """

    __test__ = False

    environment: str
    build: Build | Mapping[str, str] | None = None
    branch: str | None = None
    metadata: Mapping[str, str | int | float] | None = None
    environment_variables_overrides: (
        Mapping[str, str] | Iterable[EnvironmentVariable | Mapping[str, str]] | None
    ) = None
    tags: Iterable[str] | None = None
    test_case_ids: Iterable[str] | None = None
    total_shards: int | None = None
    send_notifications: bool | None = None
    github_actor: str | None = None
    concurrency: Concurrency | Mapping[str, str] | Literal[False] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment", checks.line("environment", self.environment))
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(name, value))
        if self.branch is not None and self.body().get("build"):
            raise InvalidRequestError(
                "build and branch cannot be given together: branch names a branch of the test "
                "repository, and with a build Empirical derives it from build.branch."
            )

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the request, exactly as the API documents it."""
        body = {name: _as_json(value) for name, value in _set_fields(self).items()}
        if self.concurrency is False:
            body["concurrency"] = None  # what the API takes for it, and None is not set
        return {name: value for name, value in body.items() if value not in ({}, [])}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not show up in any message: those of the overrides."""
        overrides = cast("tuple[EnvironmentVariable, ...]", self.environment_variables_overrides)
        return tuple(override.value for override in overrides or ())


def check_fields(given: Mapping[str, object]) -> None:
    """Check fields of a request one by one, while others are not known yet.

    Args:
        given: Values by the name of the field, none of them None.

    Raises:
        InvalidRequestError: One is not valid; the message names it.
    """
    for name, value in given.items():
        _CHECKS.get(name, checks.line)(name, value)


def _as_json(value: object) -> Any:
    if isinstance(value, (Build, Concurrency, EnvironmentVariable)):
        return _set_fields(value)
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _metadata(name: str, value: object) -> dict[str, str | int | float]:
    given = checks.as_mapping(name, value)
    return {key: checks.scalar(f"{name}[{checks.named(key)}]", item) for key, item in given.items()}


def _overrides(name: str, value: object) -> tuple[EnvironmentVariable, ...]:
    """Read either form of the overrides; refuse names that are empty or stand twice."""
    if isinstance(value, Mapping):
        pairs = [{"name": key, "value": item} for key, item in value.items()]
    elif isinstance(value, Iterable) and not isinstance(value, str):
        pairs = list(value)
    else:
        raise InvalidRequestError(
            f"{name} must be a mapping of name to value, or a list of name and value objects, "
            f"not {'str' if isinstance(value, str) else type(value).__name__}."
        )
    overrides: dict[str, EnvironmentVariable] = {}
    for place, pair in enumerate(pairs):
        override = _override(f"{name}[{place}]", pair)
        if override.name in overrides:
            raise InvalidRequestError(f"{name} sets {checks.named(override.name)} twice.")
        overrides[override.name] = override
    return tuple(overrides.values())


def _override(name: str, value: object) -> EnvironmentVariable:
    if not isinstance(value, EnvironmentVariable):
        given = checks.as_mapping(name, value)
        checks.known_keys(name, given, ("name", "value"))
        missing = {"name", "value"} - given.keys()
        if missing:
            raise InvalidRequestError(f"{name} lacks {' and '.join(sorted(missing))}.")
        value = EnvironmentVariable(name=given["name"], value=given["value"])
    checks.line(f"{name}.name", value.name)
    where = f"{name}.value (of {checks.named(value.name)})"
    if not isinstance(value.value, str):  # an empty value is a value
        raise InvalidRequestError(f"{where} must be a string, not {type(value.value).__name__}.")
    checks.scalar(where, value.value)
    return replace(value, value=Secret(value.value))


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "build": lambda name, value: _made_from(Build, name, value),
    "branch": checks.line,
    "metadata": _metadata,
    "environment_variables_overrides": _overrides,
    "tags": checks.list_of_lines,
    "test_case_ids": checks.list_of_lines,
    "total_shards": lambda name, value: checks.whole_number(name, value, at_least=1),
    "send_notifications": checks.flag,
    "github_actor": checks.line,
    "concurrency": lambda name, value: value is not False and _made_from(Concurrency, name, value),
}
