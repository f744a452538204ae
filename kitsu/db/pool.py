"""asyncpg's connection pool, with limits on waiting and connecting, and with connections that are replaced by age."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, connect_arguments
from kitsu.db.errors import is_disconnect

_limit: ContextVar[asyncio.Timeout] = ContextVar("limit")
"""The time limit of the task that acquires a connection."""


class PooledConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg ships no types
    """A connection with the time of its creation, on the monotonic clock."""

    made_at = 0.0


class ConnectionPool:
    """asyncpg's pool, for single statements. It connects when a connection is needed."""

    def __init__(
        self,
        url: URL,
        *,
        size: int,
        recycle: int,
        timeouts: Timeouts,
        init: Callable[[asyncpg.Connection], Awaitable[None]],
    ) -> None:
        """Configure up to `size` connections, each prepared by `init` and replaced after `recycle` seconds, -1: never.

        The age is checked when a connection is acquired.
        """
        self._arguments = connect_arguments(url, timeouts)
        self._size = size
        self._recycle = recycle if recycle >= 0 else float("inf")
        self._init = init
        self._timeouts = timeouts
        self._pool: Any = None
        self._expired_at = 0.0
        self._releases: set[asyncio.Task[None]] = set()

    def states(self) -> tuple[int, int]:
        """Return how many connections are in use, and how many are idle."""
        if self._pool is None:
            return 0, 0
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    def expire(self) -> None:
        """Replace every connection made so far when it is next acquired.

        asyncpg's `expire_connections` also closes those in use when they are released, and their users wait for it.
        """
        self._expired_at = time.monotonic()

    def close(self) -> None:
        """Close all connections at once, also those in use."""
        if self._pool is not None:
            self._pool.terminate()

    async def run(self, method: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Call a method of asyncpg's connection, such as `fetch`, on a connection of the pool.

        Raises TimeoutError when a free connection, a new connection or the response takes too long.
        """
        began = time.monotonic()
        connection = await self._acquire()
        # The limit of the statement includes the wait for the connection.
        left = self._timeouts.command - (time.monotonic() - began)
        try:
            result = await method(connection, *arguments, timeout=left)
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
            raise
        await self._pool.release(connection)
        return result

    async def _release_cancelled(self, connection: Any) -> None:
        # Without a reply in time asyncpg terminates the connection itself.
        with suppress(Exception):
            await self._pool.release(connection, timeout=self._timeouts.connect)

    async def _acquire(self) -> Any:
        if self._pool is None:
            await self._open()
        oldest = max(self._expired_at, time.monotonic() - self._recycle)
        async with asyncio.timeout(self._timeouts.pool) as limit:
            _limit.set(limit)
            while True:
                connection = await self._pool.acquire()
                # A connection made for this call is newer, also if another task has called `expire` meanwhile.
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
            connection_class=PooledConnection,
            connect=self._connect,
            reset=_skip_reset,
        )
        await self._pool

    async def _connect(self, *address: Any, **arguments: Any) -> PooledConnection:
        """Make a connection; the limit for connecting replaces that for waiting."""
        _limit.get().reschedule(asyncio.get_running_loop().time() + self._timeouts.connect)
        connection = await asyncpg.connect(*address, **arguments)
        try:
            # Not asyncpg's own `init`: if that fails, the pool waits for the server to close the connection.
            await self._init(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.made_at = time.monotonic()
        return connection  # type: ignore[no-any-return] # asyncpg ships no types


async def _skip_reset(_: asyncpg.Connection) -> None:
    """Do nothing: a single statement leaves no state behind, and asyncpg's own reset costs a round trip."""
