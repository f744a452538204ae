"""A BEGIN that fails, for example by `statement_timeout` on a busy server: its connection is not used again."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, create_engine, engine_states
from kitsu.db.errors import is_unavailable, sqlstate
from tests.faults.faulty_proxy import FaultyProxy
from tests.tcp_proxy import in_thread

ONE = text("SELECT 1")


async def test_transaction_after_failed_begin_succeeds(database: URL) -> None:
    with in_thread(FaultyProxy(database)) as proxy:
        engine = create_engine(proxy.url, pool_size=1, max_overflow=0, timeouts=Timeouts())
        async with engine.begin() as connection:
            await connection.execute(ONE)
        proxy.arm(1, "lock timeout")
        with pytest.raises(Exception, match="injected") as raised:
            async with engine.begin() as connection:
                await connection.execute(ONE)
        assert proxy.failed == "BEGIN;"
        assert (sqlstate(raised.value), is_unavailable(raised.value)) == ("55P03", True)
        assert engine_states(engine)[0] == 0
        async with engine.begin() as connection:
            assert await connection.scalar(ONE) == 1
        await engine.dispose()


async def test_refused_statement_keeps_its_connection(database: URL) -> None:
    engine = create_engine(database, pool_size=1, max_overflow=0, timeouts=Timeouts())
    pid = text("SELECT pg_backend_pid()")
    async with engine.connect() as connection:
        before = await connection.scalar(pid)
        with pytest.raises(Exception, match="division by zero"):
            await connection.execute(text("SELECT 1 / 0"))
    async with engine.connect() as connection:
        assert await connection.scalar(pid) == before
    await engine.dispose()
