"""The search for secrets in all that a host has left: files, and every column of a database."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_ESCAPED_BREAK = rb"\n"
"""How a line break inside of JSON text looks; pickled results have them in their base64."""


def forms(content: bytes) -> Iterator[bytes]:
    """Return content as it is, and what is in it in base64 (pickled results are) or compressed."""
    yield content
    joined = content.replace(_ESCAPED_BREAK, b"").replace(b"\n", b"")
    for found in _BASE64.finditer(joined):
        text = found[0].rstrip(b"=")
        for decode in (base64.standard_b64decode, base64.urlsafe_b64decode):
            try:
                raw = decode(text + b"=" * (-len(text) % 4))
            except binascii.Error:
                continue
            yield raw
            try:
                yield zlib.decompress(raw)
            except zlib.error:
                continue


def spellings(secret: str) -> set[bytes]:
    """Return a secret as it is, as JSON and as part of a URL."""
    return {
        each.encode()
        for each in (secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe=""))
    }


def holds(content: bytes, secrets: Iterable[str]) -> bool:
    """Say whether content holds one of the secrets, in whatever form."""
    wanted = [spelling for secret in secrets for spelling in spellings(secret)]
    return any(spelling in form for form in forms(content) for spelling in wanted)


def files_with(secrets: Iterable[str], *folders: Path) -> list[str]:
    """Name the files below some folders that hold a secret; each is read whole."""
    secrets = [*secrets]
    return [
        str(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and holds(path.read_bytes(), secrets)
    ]


def rows_with(secrets: Iterable[str], tables: Iterable[tuple[str, Iterable[Any]]]) -> list[str]:
    """Name the tables that hold a secret, given as names with their rows, any values in them."""
    secrets = [*secrets]
    return [
        name
        for name, rows in tables
        if any(holds(_plain(value), secrets) for row in rows for value in row)
    ]


def tables_of_sqlite(database: Path) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Read every table of a SQLite database, which another process may have open."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        connection.text_factory = bytes
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            yield name.decode(), connection.execute(f'SELECT * FROM "{name.decode()}"').fetchall()  # noqa: S608  # its own names


def _plain(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return value.encode() if isinstance(value, str) else json.dumps(value, default=str).encode()
