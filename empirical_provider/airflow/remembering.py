"""Where a watcher remembers what it was told: the asset's state store, before 3.3 a Variable."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow.versions import find, in_async
from empirical_provider.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from empirical_provider.ended_runs import Cursor

__all__ = ["Memory"]

log = logging.getLogger(__name__)

_PREFIX = "empirical_test_runs"

_AGAIN = 5.0
"""Seconds after which to ask again for what could not be had."""


class Memory:
    """The one value that a watcher keeps.

    Args:
        conn_id: Id of the connection that it watches.
        identity: What tells the watcher from the others, of one asset even. One who shared
            another's value would miss what the other's filter has let go by.
        store: The state store of its assets, where the host has one (Airflow 3.3).
    """

    def __init__(self, conn_id: str, identity: Mapping[str, Any], store: Any) -> None:
        told = json.dumps(identity, sort_keys=True).encode()
        self._name = f"{_PREFIX}__{conn_id}__{hashlib.sha256(told).hexdigest()[:12]}"
        self._store = store

    async def recall(self) -> Cursor | None:
        """Return what was saved last; None: nothing.

        It asks until it hears: who begins anew instead would lose what has ended meanwhile.
        """
        from empirical_provider.ended_runs import Cursor

        while True:
            try:
                saved = await self._read()
                return None if saved is None else Cursor.of(saved)
            except InvalidRequestError as error:
                log.warning("%s holds no cursor (%s): watching begins anew.", self._place, error)
                return None
            except Exception:
                log.exception("%s could not be read. Trying again.", self._place)
            await asyncio.sleep(_AGAIN)

    async def save(self, cursor: Cursor) -> bool:
        """Save a cursor, and say whether that worked."""
        try:
            await self._write(cursor.as_dict())
        except Exception:
            log.exception("%s could not be written; it will be with the next look.", self._place)
            return False
        return True

    @property
    def _place(self) -> str:
        return f"{'Variable' if self._store is None else 'Asset state'} {self._name}"

    async def _read(self) -> Any:
        if self._store is not None:
            try:
                return await self._store.aget(self._name)
            except ValueError:  # one trigger serves several assets, and the store is that of one
                self._store = None
        variable = find("airflow.sdk:Variable")
        return await in_async(lambda: variable.get(self._name, default=None, deserialize_json=True))

    async def _write(self, cursor: dict[str, Any]) -> None:
        if self._store is not None:
            await self._store.aset(self._name, cursor)
            return
        variable = find("airflow.sdk:Variable")
        about = "What the watchers of Empirical test runs have been told of."
        await in_async(
            lambda: variable.set(self._name, cursor, description=about, serialize_json=True)
        )
