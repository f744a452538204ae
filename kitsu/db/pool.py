"""Connections of asyncpg's, each used for one statement at a time.

asyncpg has a pool of its own. It makes a task and two timers for each use, which together take twice as long as a short
statement does; here a use costs what it takes to lift a connection off a pile.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.engine import Timeouts


class PooledConnection(NamedTuple):
    """A connection, and when it was made."""

    connection: Any
    made_at: float


class Pool:
    """Up to so many connections, made when they are needed. The one used last is used next, so that few stay warm."""

    def __init__(
        self,
        arguments: dict[str, Any],
        *,
        size: int,
        recycle: int,
        init: Callable[[asyncpg.Connection], Awaitable[None]],
        timeouts: Timeouts,
    ) -> None:
        """`arguments` are those of asyncpg's `connect`; `init` sees each connection before it is used.

        Each is replaced `recycle` seconds after it was made, -1: never.
        """
        self._arguments = arguments
        self._recycle = recycle if recycle >= 0 else float("inf")
        self._init = init
        self._timeouts = timeouts
        self._free = asyncio.Semaphore(size)
        self._idle: list[PooledConnection] = []
        self._all: set[Any] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def states(self) -> tuple[int, int]:
        """How many connections are in use, and how many lie idle."""
        return len(self._all) - len(self._idle), len(self._idle)

    async def take(self) -> PooledConnection:
        """A connection, to be given back or ended. Raises TimeoutError when none is free or can be made in time."""
        if self._idle and not self._free.locked():
            await self._free.acquire()
            return await self._lifted()
        async with asyncio.timeout(self._timeouts.pool):
            await self._free.acquire()
        return await self._lifted()

    def give_back(self, lent: PooledConnection) -> None:
        """The connection is idle, and whole."""
        self._idle.append(lent)
        self._free.release()

    def end(self, lent: PooledConnection) -> None:
        """Nobody knows what the connection still does, or it is closed: it is not used again."""
        self._drop(lent)
        self._free.release()

    def end_cancelled(self, lent: PooledConnection) -> None:
        """Whoever waited for its statement has gone: the server is told so, and till it knows the connection counts."""
        task = asyncio.create_task(self._end_gently(lent))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def end_idle(self) -> None:
        """Use none of those again that lie here."""
        while self._idle:
            self._drop(self._idle.pop())

    def close(self) -> None:
        """End all, those in use too; no other is made."""
        self._is_closed = True
        self._idle.clear()
        for connection in self._all:
            connection.terminate()
        self._all.clear()

    async def _lifted(self) -> PooledConnection:
        try:
            while self._idle:
                lent = self._idle.pop()
                if not lent.connection.is_closed() and time.monotonic() - lent.made_at < self._recycle:
                    return lent
                self._drop(lent)
            return await self._made()
        except BaseException:
            self._free.release()
            raise

    async def _made(self) -> PooledConnection:
        self._check_open()
        async with asyncio.timeout(self._timeouts.connect):
            connection: Any = await asyncpg.connect(**self._arguments)
            self._all.add(connection)
            lent = PooledConnection(connection, time.monotonic())
            try:
                self._check_open()
                await self._init(connection)
            except BaseException:
                self._drop(lent)
                raise
        return lent

    def _check_open(self) -> None:
        if self._is_closed:
            raise asyncpg.InterfaceError("the pool is closed")

    async def _end_gently(self, lent: PooledConnection) -> None:
        with contextlib.suppress(Exception):
            await lent.connection.close(timeout=self._timeouts.connect)
        self.end(lent)

    def _drop(self, lent: PooledConnection) -> None:
        lent.connection.terminate()
        self._all.discard(lent.connection)


def engine_states(engine: AsyncEngine) -> tuple[int, int]:
    """How many connections of an engine are in use, and how many lie idle."""
    pool: Any = engine.pool
    return pool.checkedout(), pool.checkedin()
