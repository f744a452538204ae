"""What the tests of the connection pool share: runners, and the server's view of their connections."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.statements import StatementRunner
from tests.conftest import connect
from tests.db.waiting import until
from tests.tcp_proxy import SlowProxy, slow_proxy

LOCK = 1
"""The advisory lock that `Outside.hold` takes."""


class Outside:
    """The server's view of the connections to a database, on a connection of its own."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def hold(self) -> None:
        """Take the lock, so that statements that need it wait until `let_go`."""
        await self._connection.execute(f"SELECT pg_advisory_lock({LOCK})")

    async def let_go(self) -> None:
        """Release the lock."""
        await self._connection.execute(f"SELECT pg_advisory_unlock({LOCK})")

    async def pids(self, state: str = "%") -> set[int]:
        """Return the process ids of Kitsu's connections that are in a state."""
        rows = await self._connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kitsu'"
            " AND coalesce(state, '') LIKE $1",
            state,
        )
        return {row["pid"] for row in rows}

    async def terminate(self, *pids: int) -> None:
        """Terminate connections, and wait until they are gone."""
        for pid in pids:
            assert await self._connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)

    async def become(self, expected: Callable[[set[int]], bool], state: str = "%") -> set[int]:
        """Wait until the connections in a state are as expected, and return them."""
        pids: set[int] = set()

        async def are_expected() -> bool:
            pids.clear()
            pids.update(await self.pids(state))
            return expected(pids)

        await until(are_expected)
        return pids

    async def running(self, count: int) -> set[int]:
        """Wait until so many statements are running, and return their connections."""
        return await self.become(lambda pids: len(pids) == count, "active")

    async def gone(self, *pids: int) -> None:
        """Wait until the server has none of these connections."""
        await self.become(lambda left: left.isdisjoint(pids))


class MakeRunner(Protocol):
    """Creates runners, which are closed when the test ends."""

    def __call__(
        self, *, size: int = 2, recycle: int = -1, timeouts: Timeouts = ..., url: URL | None = None, **more: Any
    ) -> StatementRunner:
        """Make a runner, by default on the test's database."""


def patient() -> Timeouts:
    """Return timeouts that no test reaches."""
    return Timeouts(connect=60, pool=60, statement=60, lock=60)


@pytest.fixture
async def outside(database: URL) -> AsyncIterator[Outside]:
    """The server's view of the test's database."""
    connection = await connect(database)
    yield Outside(connection)
    await connection.close()


@pytest.fixture
async def make_runner(database: URL) -> AsyncIterator[MakeRunner]:
    """Runners on the test's database."""
    runners = []

    def make(
        *, size: int = 2, recycle: int = -1, timeouts: Timeouts | None = None, url: URL | None = None, **more: Any
    ) -> StatementRunner:
        runner = StatementRunner(url or database, size=size, recycle=recycle, timeouts=timeouts or patient(), **more)
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.close()


@pytest.fixture
def proxy(database: URL) -> Iterator[SlowProxy]:
    """A connection to the test's database that can be slowed down, or made silent."""
    with slow_proxy(database) as proxy:
        yield proxy
