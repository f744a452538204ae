"""A request after its deadline ends at once, whatever its transaction waits for, and releases its connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from kitsu.db.engine import Timeouts, create_engine, engine_states
from kitsu.db.errors import is_unavailable
from kitsu.domain.concurrency import ConcurrencyLimiter, RequestDeadline
from tests.tcp_proxy import SlowProxy

NEVER = 3600.0
ONE, TWO = text("SELECT 1"), text("SELECT 2")


@pytest.fixture
async def engine(proxy: SlowProxy) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with an open connection. Its statements may take a minute."""
    engine = create_engine(proxy.url, timeouts=Timeouts(statement=60))
    async with engine.begin() as connection:
        await connection.execute(ONE)
    yield engine
    await engine.dispose()


def by_connection(engine: AsyncEngine) -> Any:
    """Begin a transaction on a connection."""
    return engine.begin()


def by_session(engine: AsyncEngine) -> Any:
    """Begin a transaction on a session."""
    return async_sessionmaker(engine).begin()


async def transaction(engine: AsyncEngine, proxy: SlowProxy, late_from: str, kind: Callable[..., Any]) -> None:
    """Run two statements, and get no responses from some moment on."""
    async with kind(engine) as connection:
        await connection.execute(ONE)
        await delay(proxy, late_from)
        if late_from == "statement":
            await connection.execute(TWO)


async def delay(proxy: SlowProxy, late_from: str) -> None:
    """Hold back all responses, and then roll back or wait for something else."""
    proxy.delay_seconds = NEVER
    if late_from == "rollback":
        raise LookupError
    if late_from == "something else":
        await asyncio.sleep(NEVER)


@pytest.mark.parametrize("late_from", ["statement", "commit", "rollback", "something else"])
@pytest.mark.parametrize("kind", [by_connection, by_session])
async def test_request_after_its_deadline_releases_its_connection(
    engine: AsyncEngine, proxy: SlowProxy, kind: Callable[..., Any], late_from: str
) -> None:
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()
    async with asyncio.timeout(20) as limit:
        with pytest.raises(Exception) as raised, RequestDeadline(0.3):  # noqa: PT011 - several types mean the same
            await transaction(engine, proxy, late_from, kind)
    limiter.finish()
    assert not limit.expired()
    assert is_unavailable(raised.value) or isinstance(raised.value, LookupError)
    assert engine_states(engine)[0] == 0
    proxy.delay_seconds = 0
    async with engine.begin() as connection:
        assert await connection.scalar(TWO) == 2
