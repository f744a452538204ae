"""Listen for changes of the catalogue, on a connection of its own that is replaced when it is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import structlog
from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, connect_arguments
from kitsu.db.hosts import connect
from kitsu.db.statements import StatementRunner

log = structlog.get_logger("kitsu.catalogue")

CHANNEL = "kitsu_catalogue"  # what the triggers of the catalogue's tables notify, at the commit
HEARTBEAT_SECONDS = 1.0
"""Interval and timeout of a check of the connection: a network may drop one without an error."""
RETRY_SECONDS = 0.5
UNHEARD_RETRY_SECONDS = 10.0
TRIAL = "trial "
"""The beginning of a notification that no change has caused."""
NOTIFY = select(func.pg_notify(CHANNEL, bindparam("text")))


class Listener(Protocol):
    """Receives changes of the catalogue. Between `disconnected` and `connected` it may miss some."""

    def changed(self) -> None: ...
    def connected(self) -> None: ...
    def disconnected(self) -> None: ...


class NothingHeardError(Exception):
    """A notification did not arrive: the address is that of a pooler, which takes LISTEN and drops what it hears."""


async def listen(
    connection: asyncpg.Connection, changed: Callable[[], None], notify: Callable[[str], Awaitable[object]]
) -> None:
    """Call `changed` for each change from now on, as soon as a trial has been heard. Raises NothingHeardError.

    `notify` runs NOTIFY with a text on another connection: a pooler passes on what a connection tells itself.
    """
    trial, is_heard = f"{TRIAL}{uuid4()}", asyncio.Event()

    def receive(_connection: object, _pid: int, _channel: str, text: str) -> None:
        if text == trial:
            is_heard.set()
        elif not text.startswith(TRIAL):
            changed()

    await connection.add_listener(CHANNEL, receive)
    await notify(trial)
    try:
        await asyncio.wait_for(is_heard.wait(), HEARTBEAT_SECONDS)
    except TimeoutError:
        raise NothingHeardError from None


class CatalogueListener:
    def __init__(self, url: URL, listeners: Sequence[Listener], timeouts: Timeouts, runner: StatementRunner) -> None:
        """Configure the connection. `runner` sends the notification that proves that it hears."""
        self._arguments = connect_arguments(url, timeouts)
        self._listeners = listeners
        self._runner = runner

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
            except NothingHeardError:
                log.warning("change listener hears nothing", hint="check DATABASE_DIRECT_URL")
                await asyncio.sleep(UNHEARD_RETRY_SECONDS)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("change listener disconnected", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self) -> None:
        connection: Any = await connect(**self._arguments)
        try:
            connection.add_termination_listener(lambda _: self._disconnected())
            await listen(connection, self._changed, self._notify)
            for each in self._listeners:
                each.connected()
            while not connection.is_closed():
                await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)
                await asyncio.sleep(HEARTBEAT_SECONDS)
        finally:
            self._disconnected()
            connection.terminate()

    def _changed(self) -> None:
        for each in self._listeners:
            each.changed()

    def _disconnected(self) -> None:
        for each in self._listeners:
            each.disconnected()

    async def _notify(self, text: str) -> None:
        await self._runner.write(NOTIFY, {"text": text})
