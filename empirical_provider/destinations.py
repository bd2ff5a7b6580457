"""Where a report goes: a local file, or a path of fsspec in an object store or on another host."""

from __future__ import annotations

import importlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from uuid import uuid4

from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError, ReportNotWrittenError

__all__ = [
    "Destination",
    "LocalFile",
    "StoragePath",
    "StoredFile",
    "destination_of",
    "opening",
    "told",
]


class StoragePath(Protocol):
    """A path that knows its filesystem: a ``UPath``, or Airflow's ``ObjectStoragePath``."""

    @property
    def fs(self) -> Any:
        """The filesystem, of fsspec."""

    @property
    def path(self) -> str:
        """The path in it."""


Destination = str | os.PathLike[str] | StoragePath
"""A local path, a URL of fsspec such as ``s3://bucket/junit.xml``, or a path with a filesystem."""

_LOCAL = {"file", "local"}
_READ_ONLY = {"http", "https", "data", "git", "github"}
_GROWING = {"ftp", "sftp", "ssh"}
"""Filesystems that show a file as it grows, and on which one file can be moved over another."""


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.suffix = path.suffix

    def __str__(self) -> str:
        return str(self._path)

    def check(self, field: str) -> None:
        """Refuse what is no file in a folder that may be written to, nor a pipe or a device."""
        text = str(self._path)
        is_fit = "\0" not in text and not os.path.isdir(text)  # noqa: PTH112  # pathlib's raise, for odd names
        if is_fit:
            place = os.path.realpath(text)
            is_fit = os.access(text if self._is_stream() else os.path.dirname(place), os.W_OK)  # noqa: PTH120  # as above
        if not is_fit:
            raise InvalidRequestError(
                f"{field}: no report can be written to {self}: it must be a file in a folder that "
                "is there and may be written to."
            )

    def write(self, data: bytes) -> None:
        """Write beside the file, and put that in its place; into a pipe or a device write at once.

        A link stays: what it leads to is what is replaced.
        """
        if self._is_stream():
            self._write_into(data)
            return
        path = self._path.resolve()
        unfinished = path.with_name(_unfinished())
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _is_stream(self) -> bool:
        """Whether it is no regular file, or the one that our own output goes to."""
        try:
            found = os.stat(self._path)  # noqa: PTH116  # as above
        except (OSError, ValueError):
            return False  # it is not there yet, or cannot be
        return not stat.S_ISREG(found.st_mode) or _output(found) is not None

    def _write_into(self, data: bytes) -> None:
        """Write at once. A pipe that nobody reads is an error, and nothing to wait for."""
        ours = _output(os.stat(self._path))  # noqa: PTH116  # as above
        if ours is not None:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            number = os.dup(ours)
        else:
            number = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.set_blocking(number, True)
        with os.fdopen(number, "wb") as file:
            file.write(data)


class StoredFile:
    """A file of a filesystem of fsspec."""

    def __init__(self, fs: Any, path: str, name: str) -> None:
        self._fs = fs
        self._path = path
        self._name = name
        self.suffix = PurePosixPath(path).suffix

    def __str__(self) -> str:
        return self._name

    def check(self, field: str) -> None:
        """Refuse what names no file, or stands where nothing can be written."""
        if self._name.endswith("/") or not PurePosixPath(self._path).name:
            raise InvalidRequestError(f"{field}: {self} names no file.")
        if _protocols(self._fs) & _READ_ONLY:
            raise InvalidRequestError(f"{field}: {self} can be read, but not written.")

    def write(self, data: bytes) -> None:
        """Put the file: at once in an object store, on a file server beside it and then over it."""
        if not _protocols(self._fs) & _GROWING:
            self._fs.pipe_file(self._path, data)
            return
        unfinished = str(PurePosixPath(self._path).with_name(_unfinished()))
        try:
            self._fs.pipe_file(unfinished, data)
            self._fs.mv(unfinished, self._path)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(unfinished)
            raise


def _output(file: os.stat_result) -> int | None:
    """Return which of our own outputs goes to a file, as to /dev/stdout; None: neither does."""
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(file, os.fstat(number)):
                return number
    return None


def destination_of(path: Destination, *, field: str) -> LocalFile | StoredFile:
    """Return the file that a path names. Its filesystem is opened, but nothing is asked of it.

    Args:
        path: The path.
        field: What the user knows it as.

    Raises:
        InvalidRequestError: It is no path, nothing here knows its protocol, or a password is in it.
        ReportNotWrittenError: The filesystem could not be opened; that may pass.
    """
    if hasattr(type(path), "fs"):
        with opening(field, path):
            return _file(path.fs, path.path, str(path))  # type: ignore[union-attr]
    if isinstance(path, os.PathLike):
        return LocalFile(Path(path))
    if not isinstance(path, str):
        raise InvalidRequestError(
            f"{field} must be a path, a URL or a path of an object storage, "
            f"not {type(path).__name__}."
        )
    protocol, is_url, rest = checks.text(field, path).partition("://")
    if not is_url:
        return LocalFile(Path(path))
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise InvalidRequestError(
            f"{field} must be a URL without a password, as it is shown and stored: give that to "
            "the filesystem in another way."
        )
    if protocol in _LOCAL:
        return LocalFile(Path(rest))
    with opening(field, path):
        fs, inner = _fsspec(field).url_to_fs(path)
        return _file(fs, inner, path)


@contextmanager
def opening(field: str, path: object) -> Iterator[None]:
    """Say for which path a filesystem could not be opened; they raise whatever they like.

    Raises:
        InvalidRequestError: A package is missing, or there is no such protocol.
        ReportNotWrittenError: It is something else, which may pass.
    """
    try:
        yield
    except InvalidRequestError:
        raise
    except (ImportError, ValueError) as error:
        raise InvalidRequestError(f"{field}: {path} cannot be opened. {told(error)}") from error
    except Exception as error:
        raise ReportNotWrittenError(f"{field}: {path} cannot be opened. {told(error)}") from error


def told(error: Exception) -> str:
    """Say what went wrong in a filesystem; what may sign a URL is left out."""
    words = re.sub(r"(://[^\s?]*)\?\S+", r"\1", str(error))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _file(fs: Any, path: str, name: str) -> LocalFile | StoredFile:
    return LocalFile(Path(path)) if _protocols(fs) & _LOCAL else StoredFile(fs, path, name)


def _unfinished() -> str:
    return f".{uuid4().hex}.unfinished"


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def _fsspec(field: str) -> Any:
    try:
        return importlib.import_module("fsspec.core")
    except ModuleNotFoundError as error:
        raise InvalidRequestError(
            f'{field}: a URL to write to needs: pip install "empirical-provider[reports]".'
        ) from error
