"""How the service behaves where nobody knows, or where it may differ: switches for tests."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

from .bodies import integer, number, record, text
from .echo import ECHO_IN_DETAIL, ECHO_IN_LIST, ECHOES
from .errors import FieldError

__all__ = ["BEHAVIORS", "LIMITS", "SHAPES", "Behaviour", "Changes"]

LIMITS = ("none", "project", "environment", "branch_environment")
BEHAVIORS = ("cancel_previous", "queue_new")
SHAPES = ("testRun", "test_run", "flat", "bare")
_DAY = 86_400
_MOST_READS = 1_000_000


class Changes(TypedDict, total=False):
    """What can be said about the behaviour; `Behaviour` tells what each one means."""

    echo_in_list: Collection[str]
    echo_in_detail: Collection[str]
    list_lag: float
    list_lag_reads: int
    clock_skew: float
    concurrency_limit: str
    concurrency_behavior: str
    detail_shape: str
    disabled_environments: Collection[str]


@dataclass(frozen=True)
class Behaviour:
    """The switches, all of them at one moment.

    Attributes:
        echo_in_list: Fields of the request that list items show; the others are absent. Default:
            all but ``metadata`` and ``test_case_ids``.
        echo_in_detail: Fields of the request that the detail shows; default: all but ``metadata``.
        list_lag: Seconds during which a new run is missing from lists; default 0.
        list_lag_reads: List requests from which a new run is missing; default 0.
        clock_skew: Seconds by which the service's clock is ahead; below 0 it is behind. Default 0.
        concurrency_limit: Where the project lets only one run go at a time: in the whole
            ``project``, in each ``environment`` or ``branch_environment``, or ``none`` (the
            default) for no limit.
        concurrency_behavior: What a new run does to the others there: ``cancel_previous`` (the
            default), or ``queue_new`` to wait.
        detail_shape: Where the detail has the run: in ``data.test_run.testRun`` (``testRun``, the
            default); in ``data.test_run.test_run``, with all names in snake_case (``test_run``); in
            ``data.test_run`` (``flat``); or in ``data`` (``bare``).
        disabled_environments: Slugs of those that are listed as disabled, and take no new runs;
            default: none.
    """

    echo_in_list: frozenset[str] = ECHO_IN_LIST
    echo_in_detail: frozenset[str] = ECHO_IN_DETAIL
    list_lag: float = 0.0
    list_lag_reads: int = 0
    clock_skew: float = 0.0
    concurrency_limit: str = "none"
    concurrency_behavior: str = "cancel_previous"
    detail_shape: str = "testRun"
    disabled_environments: frozenset[str] = frozenset()

    def but(self, changes: Mapping[str, Any]) -> "Behaviour":
        """Return this with some switches set.

        Raises:
            ValueError: A switch or its value is unknown; the message names it.
        """
        _CHANGES("", changes)
        given: dict[str, Any] = dict(changes)
        for name in given.keys() & {"echo_in_list", "echo_in_detail", "disabled_environments"}:
            given[name] = frozenset(given[name])
        return replace(self, **given)

    def as_json(self) -> dict[str, Any]:
        """Show the switches as JSON does, with the fields in order."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in asdict(self).items()
        }


def _list_of(what: str, item: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
            raise FieldError(name, f"must be a list of {what}")
        for each in value:
            item(name, each)

    return check


_field_names = _list_of("field names", text(among=tuple(ECHOES)))

_CHANGES = record(
    required={},
    optional={
        "echo_in_list": _field_names,
        "echo_in_detail": _field_names,
        "list_lag": number(_DAY),
        "list_lag_reads": integer(0, _MOST_READS),
        "clock_skew": number(_DAY, least=-_DAY),
        "concurrency_limit": text(among=LIMITS),
        "concurrency_behavior": text(among=BEHAVIORS),
        "detail_shape": text(among=SHAPES),
        "disabled_environments": _list_of("slugs", text()),
    },
)
