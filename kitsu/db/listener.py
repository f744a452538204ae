"""Listens to what the database says of changes of the catalogue, on a connection of its own."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

import asyncpg
import structlog
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.statements import connect_arguments

log = structlog.get_logger("kitsu.catalogue")

CHANNEL = "kitsu_catalogue"
"""What the triggers of the catalogue's tables notify, at the commit."""
HEARTBEAT_SECONDS = 1.0
"""A connection that does not answer for so long counts as cut: nobody says so when a network swallows it."""
RETRY_SECONDS = 0.5


class Listener(Protocol):
    """Whoever wants to know."""

    def changed(self) -> None:
        """A row changed, or may have while nobody listened."""

    def connected(self) -> None:
        """From now on every change is told."""

    def disconnected(self) -> None:
        """From now on changes may go untold."""


class CatalogueListener:
    """Keeps a connection that listens, and makes another one when it is cut."""

    def __init__(self, url: URL, listener: Listener, timeouts: Timeouts) -> None:
        self._arguments = connect_arguments(url, timeouts)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("catalogue changes are not heard", error=type(error).__name__)
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
