"""Run single statements on the pool of asyncpg, each in one round trip. An engine takes three times the CPU for them.

The statements are SQLAlchemy's, built at import and compiled once. Each one is a transaction of its own, committed
when the call returns. The pool connects on first use, and limits how long a request waits for a connection, how long
connecting takes, and the age of connections.
"""

import asyncio
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from importlib.resources import files
from typing import Any

import asyncpg
import msgspec
import structlog
from sqlalchemy import Executable
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, asyncpg_dialect, connect_arguments
from kitsu.db.errors import is_disconnect
from kitsu.db.hosts import connect
from kitsu.db.pooler import PooledConnection
from kitsu.deadlines import Deadline, Deadlines

log = structlog.get_logger("kitsu.sql")

_acquire_limit: ContextVar[Deadline | None] = ContextVar("acquire_limit", default=None)
"""The limit of a wait for a connection; it ends when a connection has to be made, which has its own limit."""


def read_statements(package: str, name: str) -> dict[str, str]:
    """Return the statements of a SQL file of a package, by the names of their sections: `-- name: lock`."""
    parts = re.split("(?m)^-- name: (.+)\n", files(package).joinpath(name).read_text("utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@lru_cache(maxsize=2048)
def compiled_statement(statement: Executable) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    """Return the text of a statement, the names of its parameters in their order, and its constants."""
    compiled: Any = statement.compile(dialect=asyncpg_dialect)  # type: ignore[attr-defined]
    if compiled.post_compile_params:
        raise ValueError("a list in IN () is another statement for each length: compare with any_() of an array")
    return compiled.string, tuple(compiled.positiontup), compiled.params


class StatementReader(ABC):
    """Runs statements that only read."""

    @abstractmethod
    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return all rows of a statement. Raises TimeoutError."""

    async def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the first row of a statement, or None."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def value(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the first row of a statement, or None."""
        rows = await self.rows(statement, parameters)
        return rows[0][0] if rows else None


class StatementRunner(StatementReader):
    def __init__(
        self,
        url: URL,
        *,
        size: int,
        recycle: int,
        timeouts: Timeouts,
        pooler: bool = False,
        debug: bool = False,
        on_query: Callable[[Any], None] | None = None,
    ) -> None:
        """Configure up to `size` connections. One older than `recycle` seconds is replaced when acquired; -1: never.

        `on_query` is called with asyncpg's `LoggedQuery` of each statement that ends.
        """
        self._arguments = {"connection_class": PooledConnection, **connect_arguments(url, timeouts, pooler=pooler)}
        self._size = size
        self._recycle = recycle if recycle >= 0 else float("inf")
        self._timeouts = timeouts
        self._loggers = [*([_log_query] if debug else []), *([on_query] if on_query else [])]
        self._deadlines = Deadlines()
        self._pool: Any = None
        self._expired_at = 0.0
        self._releases: set[asyncio.Task[None]] = set()

    def states(self) -> tuple[int, int]:
        """Return how many connections are in use, and how many are idle."""
        if self._pool is None:
            return 0, 0
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    def close(self) -> None:
        """Close all connections at once, also those in use."""
        if self._pool is not None:
            self._pool.terminate()

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return all rows of a statement that only reads. Raises TimeoutError."""
        try:
            return await self._fetch(statement, parameters)
        except Exception as error:
            if not is_disconnect(error):
                raise
            # A read can be repeated. A write may have been committed.
            return await self._fetch(statement, parameters)

    async def write(self, statement: Executable, parameters: Mapping[str, Any]) -> Any:
        """Run a statement that writes, and return the first row that it returns, or None."""
        rows = await self._fetch(statement, parameters)
        return rows[0] if rows else None

    async def _fetch(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        """Run a statement. Raises TimeoutError when a connection or the response takes too long."""
        sql, names, constants = compiled_statement(statement)
        given = parameters or {}
        values = [given[name] if name in given else constants[name] for name in names]
        began = time.monotonic()
        connection = await self._acquire()
        # The limit of the statement includes the wait for the connection.
        left = self._timeouts.command - (time.monotonic() - began)
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *values, timeout=left)
        except asyncio.CancelledError:
            # asyncpg makes the server cancel the statement and waits for its reply, for which the caller need not wait.
            release = asyncio.create_task(self._release_cancelled(connection))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)
            raise
        except BaseException as error:
            if isinstance(error, asyncpg.PostgresError) and not is_disconnect(error):
                await self._pool.release(connection)
            else:
                # After a timeout the server may still run the statement. A closed connection refuses this call.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()
            if is_disconnect(error):
                # The server has closed this connection, and probably the others: they are replaced when next acquired.
                # asyncpg's `expire_connections` also closes those in use on release, and their users wait for it.
                self._expired_at = time.monotonic()
            raise
        await self._pool.release(connection)
        return rows

    async def _release_cancelled(self, connection: Any) -> None:
        # Without a reply in time asyncpg terminates the connection itself.
        with suppress(Exception):
            await self._pool.release(connection, timeout=self._timeouts.connect)

    async def _acquire(self) -> Any:
        if self._pool is None:
            await self._open()
        oldest = max(self._expired_at, time.monotonic() - self._recycle)
        while True:
            limit = self._deadlines.after(self._timeouts.pool)
            token = _acquire_limit.set(limit)
            try:
                with limit:
                    connection = await self._pool.acquire()
            finally:
                _acquire_limit.reset(token)
            # A connection made for this call is newer, also if others have expired meanwhile.
            if connection.made_at > oldest:
                return connection
            connection.terminate()

    async def _open(self) -> None:
        # asyncpg's pool belongs to an event loop, which does not run yet when the application is built.
        self._pool = asyncpg.create_pool(
            **self._arguments,
            # Also limits what asyncpg does in the background, such as the request to cancel a statement.
            command_timeout=self._timeouts.command,
            min_size=0,
            max_size=self._size,
            # Connections are replaced by age only; after `max_queries` the user of a connection waits for its close.
            max_queries=float("inf"),
            max_inactive_connection_lifetime=0,
            connect=self._connect,
        )
        await self._pool

    async def _connect(self, *address: Any, **arguments: Any) -> Any:
        if limit := _acquire_limit.get():
            limit.ends_at = math.inf
        async with asyncio.timeout(self._timeouts.connect):
            connection: Any = await connect(*address, **arguments)
            try:
                # Not in asyncpg's `init`: if that fails, the pool waits for the server to close the connection.
                for kind in ("json", "jsonb"):
                    await connection.set_type_codec(
                        kind,
                        schema="pg_catalog",
                        encoder=lambda value: msgspec.json.encode(value).decode(),
                        decoder=msgspec.json.decode,
                        format="text",
                    )
                for logger in self._loggers:
                    connection.add_query_logger(logger)
            except BaseException:
                connection.terminate()
                raise
        connection.made_at = time.monotonic()
        return connection


def _log_query(query: Any) -> None:
    log.info(query.query, arguments=query.args)
