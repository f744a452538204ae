"""The statement runner: a read on a closed connection is repeated, a write never."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.errors import is_bad_value, is_unavailable
from kitsu.db.models import Anime
from kitsu.db.statements import StatementRunner
from tests.databases import column, connect, execute

PID = text("SELECT pg_backend_pid()")
SLOW_PID = text("SELECT pg_backend_pid() FROM pg_sleep(0.1)")
# A sequence is not rolled back with the statement.
SUICIDE = text("SELECT nextval('tries'), pg_terminate_backend(pg_backend_pid())")
REFUSED = text("SELECT nextval('tries') / 0")
ADD = insert(Anime).values(id=bindparam("id"), title=bindparam("title")).returning(Anime.id, Anime.title)
COUNT = text("SELECT count(*) FROM anime")


@pytest.fixture
async def runner(database: URL) -> AsyncIterator[StatementRunner]:
    """A runner with few connections, so that a test knows which one it gets."""
    await execute(database, "CREATE SEQUENCE tries")
    runner = StatementRunner(database, size=3, recycle=1800, timeouts=Timeouts())
    yield runner
    runner.close()


async def terminate(database: URL, *pids: int) -> None:
    """Terminate these connections, and wait until they are gone."""
    connection = await connect(database)
    try:
        for pid in pids:
            assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    finally:
        await connection.close()


async def test_rows_row_and_value_return_their_part(runner: StatementRunner) -> None:
    series = text("SELECT n, n * 2 FROM generate_series(1, CAST(:last AS integer)) n")
    assert [tuple(row) for row in await runner.rows(series, {"last": 2})] == [(1, 2), (2, 4)]
    assert tuple(await runner.row(series, {"last": 2})) == (1, 2)
    assert await runner.value(series, {"last": 2}) == 1
    assert await runner.rows(series, {"last": 0}) == []
    assert await runner.row(series, {"last": 0}) is None
    assert await runner.value(series, {"last": 0}) is None


async def test_statement_gets_its_constants_and_parameters(runner: StatementRunner) -> None:
    row = await runner.write(ADD, {"id": uuid4(), "title": "one"})
    assert isinstance(row[0], UUID)
    assert row["title"] == "one"
    one = select(Anime.title).where(Anime.title != "two", Anime.id == bindparam("wanted"))
    assert await runner.value(one, {"wanted": row[0]}) == "one"
    with pytest.raises(ValueError, match="any_"):
        await runner.value(select(Anime.title).where(Anime.title.in_(("one", "two"))))
    assert await runner.value(text("SELECT jsonb_build_object('a', 1)")) == {"a": 1}


async def test_read_on_a_closed_connection_is_repeated(runner: StatementRunner, database: URL) -> None:
    first = await runner.value(PID)
    assert await runner.value(PID) == first
    await terminate(database, first)
    second = await runner.value(PID)
    assert second != first
    assert await runner.value(PID) == second


async def test_reads_after_all_connections_closed_succeed(runner: StatementRunner, database: URL) -> None:
    pids = set(await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(3))))
    assert len(pids) == 3
    await terminate(database, *pids)
    assert pids.isdisjoint(await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(9))))


async def test_read_on_a_closed_connection_replaces_the_other_connections(runner: StatementRunner) -> None:
    pids = set(await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(3))))
    # The statement terminates its own connection, twice. The third one is still open.
    with pytest.raises(asyncpg.PostgresError):
        await runner.value(SUICIDE)
    assert pids.isdisjoint(await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(3))))


async def test_read_is_repeated_once(runner: StatementRunner, database: URL) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await runner.value(SUICIDE)
    assert is_unavailable(caught.value)
    assert await column(database, "SELECT last_value FROM tries") == [2]


async def test_write_is_never_repeated(runner: StatementRunner, database: URL) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await runner.write(SUICIDE, {})
    assert is_unavailable(caught.value)
    assert await column(database, "SELECT last_value FROM tries") == [1]


async def test_refused_statement_is_not_repeated(runner: StatementRunner, database: URL) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await runner.value(REFUSED)
    assert await column(database, "SELECT last_value FROM tries") == [1]


async def test_value_that_can_not_be_encoded_is_a_bad_value(runner: StatementRunner) -> None:
    with pytest.raises(asyncpg.DataError) as caught:
        await runner.value(text("SELECT CAST(:n AS integer)"), {"n": 2**40})
    assert is_bad_value(caught.value)
    assert not is_unavailable(caught.value)


async def test_no_transaction_is_left_open(runner: StatementRunner, database: URL) -> None:
    states = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kitsu'"
    await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(3)))
    assert await column(database, states) == ["idle"] * 3
    with pytest.raises(asyncpg.UndefinedColumnError):
        await runner.rows(text("SELECT missing FROM anime"))
    assert await column(database, states) == ["idle"] * 3


async def test_write_is_committed_when_it_returns(runner: StatementRunner, database: URL) -> None:
    await runner.write(ADD, {"id": uuid4(), "title": "one"})
    assert await column(database, "SELECT count(*) FROM anime") == [1]


async def test_statement_waits_for_a_free_connection(runner: StatementRunner) -> None:
    assert len(await asyncio.gather(*(runner.value(SLOW_PID) for _ in range(12)))) == 12
    assert await runner.value(COUNT) == 0
