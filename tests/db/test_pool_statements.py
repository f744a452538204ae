"""Statements on connections that are lent: one that is cancelled ends its connection, one refused keeps it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import bindparam, insert, text
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.models import Anime
from kitsu.db.statements import StatementRunner
from tests.db.pools import Outside
from tests.db.waiting import soon

PID = text("SELECT pg_backend_pid()")
SLOW_PID = text("SELECT pg_backend_pid() FROM pg_sleep(0.1)")
LONG = text("SELECT pg_sleep(5)")
LONGER = text("SELECT pg_sleep(60)")
DIVIDE = text("SELECT 1 / CAST(:n AS integer)")
ADD = insert(Anime).values(id=bindparam("id"), title="one").returning(Anime.id)


@pytest.fixture
async def direct(database: URL) -> AsyncIterator[StatementRunner]:
    """Statements on two connections."""
    direct = StatementRunner(database, size=2, recycle=-1, timeouts=Timeouts())
    yield direct
    direct.close()


async def test_cancelled_statements_lose_no_slot_and_their_connections_are_not_used_again(
    direct: StatementRunner, outside: Outside
) -> None:
    cancelled: set[int] = set()
    for _ in range(3):
        statement = asyncio.create_task(direct.rows(LONG))
        pids = await outside.running(beside=cancelled)
        statement.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(statement)
        assert len(pids) == 1
        cancelled |= pids
    assert len(cancelled) == 3
    assert await soon(direct.value(PID)) not in cancelled
    used = set(await soon(asyncio.gather(*(direct.value(SLOW_PID) for _ in range(6)))))
    assert len(used) == 2
    assert used.isdisjoint(cancelled)


async def test_statements_cancelled_together_with_one_that_waits_lose_no_slot(
    direct: StatementRunner, outside: Outside
) -> None:
    statements = [asyncio.create_task(direct.rows(LONG)) for _ in range(3)]
    cancelled = await outside.running(beside=set(), count=2)
    for statement in statements:
        statement.cancel()
    said = await soon(asyncio.gather(*statements, return_exceptions=True))
    assert [type(error) for error in said] == [asyncio.CancelledError] * 3
    used = set(await soon(asyncio.gather(*(direct.value(SLOW_PID) for _ in range(6)))))
    assert len(used) == 2
    assert used.isdisjoint(cancelled)


async def test_cancelled_statement_does_not_go_on_in_the_server(direct: StatementRunner, outside: Outside) -> None:
    statement = asyncio.create_task(direct.rows(LONGER))
    pids = await outside.running(beside=set())
    statement.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(statement)
    # Or there are more connections than the size, each at the work of nobody.
    await outside.gone(*pids)


async def test_read_under_way_at_the_close_leaves_no_connection(direct: StatementRunner, outside: Outside) -> None:
    statement = asyncio.create_task(direct.rows(text("SELECT pg_sleep(0.3)")))
    before = await outside.running(beside=set())
    direct.close()
    await soon(asyncio.gather(statement, return_exceptions=True))
    after = await outside.pids() - before
    # What was opened behind the first close would otherwise be a warning in some other test.
    direct.close()
    assert after == set()


async def test_refused_statement_keeps_its_connection(direct: StatementRunner) -> None:
    before = await direct.value(PID)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await direct.value(DIVIDE, {"n": 0})
    assert await direct.value(PID) == before
    values = {"id": uuid4()}
    await direct.write(ADD, values)
    with pytest.raises(asyncpg.UniqueViolationError):
        await direct.write(ADD, values)
    assert await direct.value(PID) == before
    assert await direct.value(DIVIDE, {"n": 1}) == 1
