"""Reads: said again when the database had closed their connection, and never in a transaction that stays open."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.engine import create_engine
from kitsu.db.reads import Reads
from kitsu.db.sqlstate import is_unavailable
from tests.conftest import connect

PID = text("SELECT pg_backend_pid()")
SUICIDE = text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
async def engine(database: URL) -> AsyncIterator[AsyncEngine]:
    """An engine with few connections, so that a test knows which one it gets."""
    engine = create_engine(database, pool_size=3, max_overflow=0)
    yield engine
    await engine.dispose()


@pytest.fixture
def statements(engine: AsyncEngine) -> list[str]:
    """Every statement that the engine sends."""
    sent: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(*arguments: object) -> None:
        sent.append(str(arguments[2]))

    return sent


async def terminate(database: URL, *pids: int) -> None:
    """End these connections from outside, and wait until they are gone."""
    connection = await connect(database)
    try:
        for pid in pids:
            assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    finally:
        await connection.close()


async def states(database: URL) -> list[str]:
    """What the connections of Kitsu are doing."""
    connection = await connect(database)
    query = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kitsu'"
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_rows_row_and_value(engine: AsyncEngine) -> None:
    reads = Reads(engine)
    series = text("SELECT n, n * 2 FROM generate_series(1, :last) n")
    assert [tuple(row) for row in await reads.rows(series, {"last": 2})] == [(1, 2), (2, 4)]
    assert tuple(await reads.row(series, {"last": 2})) == (1, 2)
    assert await reads.value(series, {"last": 2}) == 1
    assert await reads.rows(series, {"last": 0}) == []
    assert await reads.row(series, {"last": 0}) is None
    assert await reads.value(series, {"last": 0}) is None


async def test_read_on_a_closed_connection_is_repeated(engine: AsyncEngine, database: URL) -> None:
    reads = Reads(engine)
    first = await reads.value(PID)
    assert await reads.value(PID) == first
    await terminate(database, first)
    second = await reads.value(PID)
    assert second != first
    assert await reads.value(PID) == second


async def test_all_connections_closed_at_once(engine: AsyncEngine, database: URL) -> None:
    reads = Reads(engine)
    slow = text("SELECT pg_backend_pid() FROM pg_sleep(0.1)")
    pids = set(await asyncio.gather(*(reads.value(slow) for _ in range(3))))
    assert len(pids) == 3
    await terminate(database, *pids)
    assert pids.isdisjoint(await asyncio.gather(*(reads.value(slow) for _ in range(9))))


async def test_read_is_repeated_once(engine: AsyncEngine, statements: list[str]) -> None:
    with pytest.raises(DBAPIError) as caught:
        await Reads(engine).value(SUICIDE)
    assert is_unavailable(caught.value)
    assert statements == [str(SUICIDE)] * 2


async def test_refused_statement_is_not_repeated(engine: AsyncEngine, statements: list[str]) -> None:
    with pytest.raises(DBAPIError, match="division by zero"):
        await Reads(engine).value(text("SELECT 1 / 0"))
    assert statements == ["SELECT 1 / 0"]


async def test_no_transaction_is_left_open(engine: AsyncEngine, database: URL) -> None:
    reads = Reads(engine)
    slow = text("SELECT count(*) FROM anime, pg_sleep(0.1)")
    await asyncio.gather(*(reads.rows(slow) for _ in range(3)))
    assert await states(database) == ["idle"] * 3
    with pytest.raises(DBAPIError):
        await reads.rows(text("SELECT missing FROM anime"))
    assert await states(database) == ["idle"] * 3


async def test_write_after_a_read_is_in_a_transaction(engine: AsyncEngine) -> None:
    """The pool's connections are shared: the mode of the reads must not stay on them."""
    reads = Reads(engine)
    first = await reads.value(PID)
    add = text("INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'a')")
    async with engine.connect() as connection:
        assert await connection.scalar(PID) == first
        await connection.execute(add)
        await connection.rollback()
    assert await reads.value(text("SELECT count(*) FROM anime")) == 0
    async with engine.begin() as connection:
        await connection.execute(add)
    assert await reads.value(text("SELECT count(*) FROM anime")) == 1
