"""The connection pool of the statement runner: its size and limits; no fault costs it a connection."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from kitsu.db.errors import is_unavailable
from kitsu.db.statements import StatementRunner
from tests.conftest import execute
from tests.db.pools import LOCK, MakeRunner, Outside, patient
from tests.db.waiting import run_other_tasks, soon, until
from tests.tcp_proxy import SlowProxy

NEVER = 3600.0
PID = text("SELECT pg_backend_pid()")
LOCKED_PID = text(f"SELECT pg_backend_pid() FROM pg_advisory_xact_lock({LOCK})")
"""Waits while a test holds the lock."""


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return the time, as `time.monotonic` does."""
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the connections' age."""
    clock = Clock()
    monkeypatch.setattr("kitsu.db.statements.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


async def check_size(runner: StatementRunner, outside: Outside, size: int) -> set[int]:
    """Check that `size` statements run at once and others wait for these; return the connections."""
    await outside.hold()
    statements = [asyncio.create_task(runner.value(LOCKED_PID)) for _ in range(3 * size)]
    running = await outside.running(size)
    await run_other_tasks()
    assert runner.states() == (size, 0)
    await outside.let_go()
    used = set(await soon(asyncio.gather(*statements)))
    assert used == running == await outside.pids()
    assert runner.states() == (0, size)
    return used


async def test_concurrent_statements_use_at_most_size_connections(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner(size=3)
    assert runner.states() == (0, 0)
    await check_size(runner, outside, 3)


async def test_statements_one_after_another_use_one_connection(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner(size=3)
    assert {await runner.value(PID) for _ in range(10)} == await outside.pids()
    assert runner.states() == (0, 1)


async def test_wait_for_a_full_pool_ends_with_a_timeout(make_runner: MakeRunner, outside: Outside) -> None:
    timeouts = patient()
    runner = make_runner(timeouts=timeouts)
    used = await check_size(runner, outside, 2)
    await outside.hold()
    statements = [asyncio.create_task(runner.value(LOCKED_PID)) for _ in range(2)]
    await outside.running(2)
    msgspec.structs.force_setattr(timeouts, "pool", 0.05)
    waits = await soon(asyncio.gather(*(runner.value(PID) for _ in range(3)), return_exceptions=True))
    assert [type(error) for error in waits] == [TimeoutError] * 3
    msgspec.structs.force_setattr(timeouts, "pool", 60)
    await outside.let_go()
    assert set(await soon(asyncio.gather(*statements))) == used
    assert await check_size(runner, outside, 2) == used


async def test_cancelled_wait_for_a_full_pool_loses_no_connection(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner(size=1)
    await outside.hold()
    held, cancelled, waiting = [asyncio.create_task(runner.value(LOCKED_PID)) for _ in range(3)]
    await outside.running(1)
    cancelled.cancel()
    await outside.let_go()
    assert await soon(held) == await soon(waiting)
    assert cancelled.cancelled()
    await check_size(runner, outside, 1)


async def test_slow_connect_is_not_limited_by_the_pool_timeout(make_runner: MakeRunner, proxy: SlowProxy) -> None:
    timeouts = patient()
    msgspec.structs.force_setattr(timeouts, "pool", 0.05)
    proxy.delay_seconds = 0.1
    assert await soon(make_runner(timeouts=timeouts, url=proxy.url).value(PID))


async def test_refused_connection_loses_no_slot(
    make_runner: MakeRunner, outside: Outside, server: URL, database: URL
) -> None:
    runner = make_runner()
    await outside.terminate(await runner.value(PID))
    await execute(server, f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS false")
    for _ in range(3):
        with pytest.raises(asyncpg.PostgresError):
            await soon(runner.value(PID))
    await execute(server, f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS true")
    await check_size(runner, outside, 2)


async def test_connect_without_response_raises_timeout(make_runner: MakeRunner, proxy: SlowProxy) -> None:
    timeouts = patient()
    runner = make_runner(timeouts=timeouts, url=proxy.url)
    msgspec.structs.force_setattr(timeouts, "connect", 0.05)
    proxy.delay_seconds = NEVER
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await soon(runner.value(PID))
    msgspec.structs.force_setattr(timeouts, "connect", 60)
    proxy.delay_seconds = 0
    assert await soon(runner.value(PID))


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_connection_whose_setup_fails_is_closed(
    make_runner: MakeRunner, outside: Outside, monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool
) -> None:
    begun: asyncio.Queue[int] = asyncio.Queue()

    async def fail(connection: asyncpg.Connection, *_: Any, **__: Any) -> None:
        begun.put_nowait(connection.get_server_pid())
        if is_cancelled:
            await asyncio.sleep(NEVER)
        raise LookupError

    runner = make_runner()
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "set_type_codec", fail)
        for _ in range(3):
            statement = asyncio.create_task(runner.value(PID))
            pid = await soon(begun.get())
            if is_cancelled:
                statement.cancel()
            with pytest.raises(asyncio.CancelledError if is_cancelled else LookupError):
                await soon(statement)
            await outside.gone(pid)
    await check_size(runner, outside, 2)


async def test_cancelled_statement_is_cancelled_in_the_server(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner()
    await outside.hold()
    for _ in range(3):
        statements = [asyncio.create_task(runner.value(LOCKED_PID)) for _ in range(3)]
        await outside.running(2)
        for statement in statements:
            statement.cancel()
        results = await soon(asyncio.gather(*statements, return_exceptions=True))
        assert [type(error) for error in results] == [asyncio.CancelledError] * 3
        await outside.running(0)
    await outside.let_go()
    await check_size(runner, outside, 2)


async def test_cancelled_statement_does_not_wait_for_a_silent_server(make_runner: MakeRunner, proxy: SlowProxy) -> None:
    timeouts = patient()
    runner = make_runner(size=1, timeouts=timeouts, url=proxy.url)
    pid = await runner.value(PID)
    proxy.delay_seconds = NEVER
    statement = asyncio.create_task(runner.value(PID))
    await run_other_tasks()
    msgspec.structs.force_setattr(timeouts, "connect", 0.05)
    statement.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(statement)

    async def is_closed() -> bool:
        return runner.states() == (0, 0)

    # The server does not confirm the cancellation in time, so the connection can't be used again.
    await until(is_closed)
    msgspec.structs.force_setattr(timeouts, "connect", 60)
    proxy.delay_seconds = 0
    assert await soon(runner.value(PID)) != pid


async def test_statement_timeout_terminates_its_connection(make_runner: MakeRunner, proxy: SlowProxy) -> None:
    timeouts = patient()
    runner = make_runner(size=1, timeouts=timeouts, url=proxy.url)
    pid = await runner.value(PID)
    msgspec.structs.force_setattr(timeouts, "statement", 0.05)
    proxy.delay_seconds = NEVER
    with pytest.raises(TimeoutError):
        await soon(runner.value(PID))
    assert runner.states() == (0, 0)
    msgspec.structs.force_setattr(timeouts, "statement", 60)
    proxy.delay_seconds = 0
    assert await soon(runner.value(PID)) != pid


async def test_refused_statement_keeps_its_connection(make_runner: MakeRunner) -> None:
    runner = make_runner()
    pid = await runner.value(PID)
    for _ in range(3):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await runner.value(text("SELECT 1 / CAST(:n AS integer)"), {"n": 0})
    assert await runner.value(PID) == pid


async def test_terminated_connection_is_replaced(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner()
    await outside.hold()
    writes = [asyncio.create_task(runner.write(LOCKED_PID, {})) for _ in range(2)]
    await outside.terminate(*await outside.running(2))
    for error in await soon(asyncio.gather(*writes, return_exceptions=True)):
        assert isinstance(error, Exception)
        assert is_unavailable(error)
    await outside.let_go()
    await check_size(runner, outside, 2)


async def test_statement_on_a_reused_connection_is_logged_once(make_runner: MakeRunner) -> None:
    logged: list[str] = []
    runner = make_runner(on_query=lambda query: logged.append(query.query))
    for _ in range(3):
        await runner.value(PID)
    assert logged.count(PID.text) == 3


async def test_old_connection_is_replaced(make_runner: MakeRunner, outside: Outside, clock: Clock) -> None:
    runner = make_runner(recycle=60)
    old = await check_size(runner, outside, 2)
    clock.now += 59
    assert await check_size(runner, outside, 2) == old
    clock.now += 2
    await runner.value(PID)
    await outside.gone(*old)
    new = await check_size(runner, outside, 2)
    clock.now += 58
    assert await check_size(runner, outside, 2) == new


async def test_recycle_of_zero_replaces_each_connection(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner(size=1, recycle=0)
    pids = [await runner.value(PID) for _ in range(3)]
    assert len(set(pids)) == 3
    await outside.gone(*pids[:-1])


async def test_recycle_of_minus_one_replaces_no_connection(make_runner: MakeRunner, clock: Clock) -> None:
    runner = make_runner(recycle=-1)
    pid = await runner.value(PID)
    clock.now += 10**9
    assert await runner.value(PID) == pid


async def test_close_ends_connections_in_use_and_refuses_statements(make_runner: MakeRunner, outside: Outside) -> None:
    runner = make_runner()
    await outside.hold()
    statements = [asyncio.create_task(runner.rows(LOCKED_PID)) for _ in range(5)]
    await outside.running(2)
    runner.close()
    for error in await soon(asyncio.gather(*statements, return_exceptions=True)):
        assert isinstance(error, Exception)
        assert is_unavailable(error)
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await runner.value(PID)
    await outside.let_go()
    await outside.become(lambda pids: not pids)
    assert runner.states() == (0, 0)
