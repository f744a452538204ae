"""Connections of the engine that the server closes while they are idle, as a restart does."""

import asyncio

from sqlalchemy import text
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts, create_engine, engine_states
from tests.db.pools import Outside

PID = text("SELECT pg_backend_pid()")


async def test_transaction_replaces_closed_idle_connection(database: URL, outside: Outside) -> None:
    engine = create_engine(database, pool_size=2, max_overflow=0, timeouts=Timeouts())
    async with engine.begin() as first, engine.begin() as second:
        before = {await first.scalar(PID), await second.scalar(PID)}
    await outside.terminate(*before)
    await asyncio.sleep(0.1)  # until the event loop has read that they are closed
    async with engine.begin() as first, engine.begin() as second:
        after = {await first.scalar(PID), await second.scalar(PID)}
    assert len(after) == 2
    assert not before & after
    assert engine_states(engine) == (0, 2)
    await engine.dispose()
