"""Connections as they are made and grow old: a failure loses no slot, and one that is not whole is replaced."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from tests.db.pools import (
    MakePool,
    Outside,
    assert_size,
    impatient,
    pid_of,
    pids_of,
    take,
    usable,
)
from tests.db.waiting import soon, until


class Clock:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        """At an hour that means nothing."""
        self.now = 1000.0

    def monotonic(self) -> float:
        """As that of the module `time`."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The pool's clock; the event loop keeps its own."""
    clock = Clock()
    monkeypatch.setattr("kitsu.db.pool.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@contextmanager
def changed(arguments: dict[str, Any], **others: Any) -> Iterator[None]:
    """With other arguments to connect with, for as long as the context lasts."""
    before = dict(arguments)
    arguments.update(others)
    try:
        yield
    finally:
        arguments.clear()
        arguments.update(before)


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """The port of a server that never says anything, and whether it was called."""
    called, left = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        try:
            await reader.read()
        finally:
            writer.close()
            left.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], called
        await soon(left.wait())


async def test_server_that_does_not_answer_is_a_timeout_that_loses_no_slot(
    make_pool: MakePool, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(size=1)
    async with silent_server() as (port, _):
        with changed(arguments, host="127.0.0.1", port=port), impatient(monkeypatch):
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await soon(pool.take())
    await assert_size(pool, 1)


async def test_one_that_is_cancelled_while_it_connects_loses_no_slot(
    make_pool: MakePool, arguments: dict[str, Any]
) -> None:
    pool = make_pool(size=1)
    async with silent_server() as (port, called):
        with changed(arguments, host="127.0.0.1", port=port):
            connecting = asyncio.create_task(pool.take())
            await soon(called.wait())
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(connecting)
    await assert_size(pool, 1)


async def test_closed_port_raises_and_loses_no_slot(make_pool: MakePool, arguments: dict[str, Any]) -> None:
    pool = make_pool(size=1)
    with socket.socket() as bound:
        # Bound, so that nobody else listens there either.
        bound.bind(("127.0.0.1", 0))
        with changed(arguments, host="127.0.0.1", port=bound.getsockname()[1]):
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    await soon(pool.take())
    await assert_size(pool, 1)


async def test_missing_database_raises_and_loses_no_slot(make_pool: MakePool, arguments: dict[str, Any]) -> None:
    pool = make_pool(size=1)
    with changed(arguments, database="missing"):
        for _ in range(3):
            with pytest.raises(asyncpg.InvalidCatalogNameError):
                await soon(pool.take())
    await assert_size(pool, 1)


async def test_each_connection_is_initialised_once(make_pool: MakePool) -> None:
    seen: list[int] = []

    async def init(connection: asyncpg.Connection) -> None:
        seen.append(connection.get_server_pid())

    pool = make_pool(size=2, init=init)
    for _ in range(2):
        held = await take(pool, 2)
        for lent in held:
            pool.give_back(lent)
    assert sorted(seen) == sorted(pids_of(held))


async def test_connection_whose_initialisation_fails_is_closed_and_loses_no_slot(
    make_pool: MakePool, outside: Outside
) -> None:
    refused: list[int] = []

    async def init(connection: asyncpg.Connection) -> None:
        if len(refused) < 3:
            refused.append(await connection.fetchval("SELECT pg_backend_pid()"))
            raise LookupError("no such codec")

    pool = make_pool(size=2, init=init)
    for _ in range(3):
        with pytest.raises(LookupError):
            await soon(pool.take())
    await outside.gone(*refused)
    assert len(set(refused)) == 3
    await assert_size(pool, 2)


async def test_connection_whose_initialisation_is_cancelled_is_closed_and_loses_no_slot(
    make_pool: MakePool, outside: Outside
) -> None:
    begun: asyncio.Queue[int] = asyncio.Queue()
    may_end = asyncio.Event()

    async def init(connection: asyncpg.Connection) -> None:
        begun.put_nowait(connection.get_server_pid())
        await may_end.wait()

    pool = make_pool(size=1, init=init)
    taking = asyncio.create_task(pool.take())
    pid = await soon(begun.get())
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(taking)
    await outside.gone(pid)
    may_end.set()
    await assert_size(pool, 1)


async def test_connection_that_is_too_old_is_replaced(make_pool: MakePool, outside: Outside, clock: Clock) -> None:
    pool = make_pool(size=1, recycle=60)
    first = await usable(pool)
    pid = pid_of(first)
    pool.give_back(first)
    clock.now += 59
    assert await usable(pool) == first
    pool.give_back(first)
    clock.now += 1
    second = await usable(pool)
    assert pid_of(second) != pid
    await outside.gone(pid)
    pool.give_back(second)
    clock.now += 59
    assert await usable(pool) == second
    pool.give_back(second)
    await assert_size(pool, 1)


async def test_all_that_are_too_old_are_closed_on_the_way_to_a_new_one(
    make_pool: MakePool, outside: Outside, clock: Clock
) -> None:
    pool = make_pool(size=3, recycle=60)
    old = await take(pool, 3)
    pids = pids_of(old)
    for lent in old:
        pool.give_back(lent)
    clock.now += 100
    new = await usable(pool)
    await outside.gone(*pids)
    assert await outside.pids() == {pid_of(new)}
    pool.give_back(new)
    await assert_size(pool, 3)


async def test_connection_grows_old_in_use_without_being_ended(make_pool: MakePool, clock: Clock) -> None:
    pool = make_pool(size=1, recycle=60)
    lent = await usable(pool)
    pid = pid_of(lent)
    clock.now += 100
    assert await lent.connection.fetchval("SELECT 1") == 1
    pool.give_back(lent)
    assert pid_of(await usable(pool)) != pid


async def test_recycle_of_zero_replaces_each(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=1, recycle=0)
    pids = []
    for _ in range(3):
        lent = await usable(pool)
        pids.append(pid_of(lent))
        pool.give_back(lent)
    assert len(set(pids)) == 3
    await outside.gone(*pids[:-1])


async def test_recycle_of_minus_one_replaces_none(make_pool: MakePool, clock: Clock) -> None:
    pool = make_pool(size=1, recycle=-1)
    lent = await usable(pool)
    pool.give_back(lent)
    clock.now += 10**9
    assert await usable(pool) == lent


async def test_connection_that_the_server_closed_while_it_was_idle_is_replaced(
    make_pool: MakePool, outside: Outside
) -> None:
    pool = make_pool(size=3)
    held = await take(pool, 3)
    for lent in held:
        pool.give_back(lent)
    await outside.terminate(*pids_of(held[1:]))

    async def is_heard() -> bool:
        return all(lent.connection.is_closed() for lent in held[1:])

    await until(is_heard)
    # The one at the bottom of the pile still lives.
    assert await usable(pool) == held[0]
    new = await usable(pool)
    assert new not in held
    pool.give_back(new)
    pool.give_back(held[0])
    await assert_size(pool, 3)
