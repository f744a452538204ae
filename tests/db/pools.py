"""What the tests of the pool share: pools, the connections taken of them, and a look at these from outside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.pool import Pool, PooledConnection
from kitsu.db.statements import connect_arguments
from tests.conftest import connect
from tests.db.waiting import soon, turns, until


class Outside:
    """Looks at the connections of a database's users, from one of its own."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        """`connection` is not Kitsu's."""
        self._connection = connection

    async def pids(self, state: str = "%") -> set[int]:
        """Those of Kitsu's connections, as far as they are in this state."""
        rows = await self._connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kitsu'"
            " AND coalesce(state, '') LIKE $1",
            state,
        )
        return {row["pid"] for row in rows}

    async def terminate(self, *pids: int) -> None:
        """End these connections, and wait until they are gone."""
        for pid in pids:
            assert await self._connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)

    async def gone(self, *pids: int) -> None:
        """Wait until the server has none of these."""

        async def are_gone() -> bool:
            return (await self.pids()).isdisjoint(pids)

        await until(are_gone)

    async def running(self, *, beside: set[int], count: int = 1) -> set[int]:
        """Wait until so many statements are under way, beside those on the connections that are known already."""
        pids: set[int] = set()

        async def are_running() -> bool:
            pids.update(await self.pids("active") - beside)
            return len(pids) >= count

        await until(are_running)
        return pids


waits: Any = SimpleNamespace(pool=5.0, connect=5.0)
"""The timeouts of the pools, for tests to change."""


class MakePool(Protocol):
    """Makes pools that are closed when the test ends."""

    def __call__(
        self, *, size: int, recycle: int = -1, init: Callable[[asyncpg.Connection], Awaitable[None]] = ...
    ) -> Pool:
        """On the arguments of the fixture of this name."""


@pytest.fixture
async def outside(database: URL) -> AsyncIterator[Outside]:
    """A look at the test's database from outside of the pool."""
    connection = await connect(database)
    yield Outside(connection)
    await connection.close()


@pytest.fixture
def arguments(database: URL) -> dict[str, Any]:
    """What the pools connect with; a test may change it, and back."""
    return connect_arguments(database, Timeouts())


@pytest.fixture
async def make_pool(arguments: dict[str, Any]) -> AsyncIterator[MakePool]:
    """Pools on the test's database."""
    pools = []

    def make(
        *, size: int, recycle: int = -1, init: Callable[[asyncpg.Connection], Awaitable[None]] = leave_alone
    ) -> Pool:
        pools.append(Pool(arguments, size=size, recycle=recycle, init=init, timeouts=waits))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With next to no time to wait for a connection."""
    with monkeypatch.context() as patch:
        patch.setattr(waits, "pool", 0.05)
        patch.setattr(waits, "connect", 0.05)
        yield


async def leave_alone(connection: asyncpg.Connection) -> None:
    """Nothing to be done with a new connection."""


def pid_of(lent: PooledConnection) -> int:
    """The process of the server behind a connection."""
    pid: int = lent.connection.get_server_pid()
    return pid


def pids_of(held: list[PooledConnection]) -> list[int]:
    """Those of several; a connection that is closed knows its own no more."""
    return [pid_of(lent) for lent in held]


async def take(pool: Pool, count: int) -> list[PooledConnection]:
    """So many connections, each at work."""
    return [await usable(pool) for _ in range(count)]


async def usable(pool: Pool) -> PooledConnection:
    """A connection that answers."""
    lent = await soon(pool.take())
    assert await lent.connection.fetchval("SELECT pg_backend_pid()") == pid_of(lent)
    return lent


async def assert_size(pool: Pool, size: int) -> None:
    """So many can be in use, no more and no less. None is in use before and after."""
    held = await take(pool, size)
    # One more makes no connection: it gets the one that is given back.
    waiting = asyncio.create_task(pool.take())
    await turns()
    pool.give_back(held[0])
    assert (await soon(waiting)).connection is held[0].connection
    for lent in held:
        pool.give_back(lent)
