"""Listen for changes of the catalogue, on a connection of its own that is replaced when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg
import structlog
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, connect_arguments

log = structlog.get_logger("kitsu.catalogue")

CHANNEL = "kitsu_catalogue"  # what the triggers of the catalogue's tables notify, at the commit
HEARTBEAT_SECONDS = 1.0
"""Interval and timeout of a check of the connection: a network may drop one without an error."""
RETRY_SECONDS = 0.5


class Listener(Protocol):
    """Receives changes of the catalogue. Between `disconnected` and `connected` it may miss some."""

    def changed(self) -> None: ...
    def connected(self) -> None: ...
    def disconnected(self) -> None: ...


class CatalogueListener:
    def __init__(self, url: URL, listener: Listener, timeouts: Timeouts) -> None:
        self._arguments = connect_arguments(url, timeouts)
        self._listener = listener

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen in the background until the context ends."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("change listener disconnected", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self) -> None:
        connection: Any = await asyncpg.connect(**self._arguments)
        try:
            connection.add_termination_listener(lambda _: self._listener.disconnected())
            await connection.add_listener(CHANNEL, lambda *_: self._listener.changed())
            self._listener.connected()
            while not connection.is_closed():
                await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)
                await asyncio.sleep(HEARTBEAT_SECONDS)
        finally:
            self._listener.disconnected()
            connection.terminate()
