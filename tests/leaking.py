"""What an error tracker takes of an exception: locals of every frame, of causes and contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

__all__ = ["leaks_of", "words_of"]

_TESTS = Path(__file__).parent


def words_of(error: BaseException) -> Iterator[tuple[str, str]]:
    """Give where each text stands that a tracker stores of an exception, and the text.

    Frames of tests are left out: they know the secrets, as the frames of users do.
    """
    for each in _chain(error, set()):
        yield f"{type(each).__name__}", f"{each} {each!r} {vars(each)!r} {each.args!r}"
        request = getattr(each, "_request", None)
        if request is not None:  # httpx's: the repr of its headers would hide the key
            yield f"{type(each).__name__}.request", f"{dict(request.headers)}"
        for trace in _frames(each.__traceback__):
            code = trace.tb_frame.f_code
            if _TESTS not in Path(code.co_filename).parents:
                for name, value in trace.tb_frame.f_locals.items():
                    yield (
                        f"{trace.tb_frame.f_globals.get('__name__')}.{code.co_name}: {name}",
                        _repr(value),
                    )


def leaks_of(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Name the places where a tracker would store one of the secrets."""
    secrets = [*secrets]
    return [place for place, words in words_of(error) if any(each in words for each in secrets)]


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for each in (error.__cause__, error.__context__, *inner):
            yield from _chain(each, seen)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # a tracker goes on, too
        return f"(no repr: {error!r})"
