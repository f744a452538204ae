"""Connections that are lent: never too many, none lost, and none used again that is not whole."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import bindparam, insert, text
from sqlalchemy.engine import URL

from kitsu.db.direct import Direct, connect_arguments
from kitsu.db.engine import Timeouts
from kitsu.db.models import Anime
from kitsu.db.pool import Lent, Pool
from tests.conftest import connect

T = TypeVar("T")

PID = text("SELECT pg_backend_pid()")
SLOW_PID = text("SELECT pg_backend_pid() FROM pg_sleep(0.1)")
LONG = text("SELECT pg_sleep(5)")
LONGER = text("SELECT pg_sleep(60)")
DIVIDE = text("SELECT 1 / CAST(:n AS integer)")
ADD = insert(Anime).values(id=bindparam("id"), title="one").returning(Anime.id)


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


class Clock:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        """At an hour that means nothing."""
        self.now = 1000.0

    def monotonic(self) -> float:
        """As that of the module `time`."""
        return self.now


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


@pytest.fixture
async def direct(database: URL) -> AsyncIterator[Direct]:
    """Statements on two connections."""
    direct = Direct(database, size=2, recycle=-1, timeouts=Timeouts())
    yield direct
    direct.close()


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


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With next to no time to wait for a connection."""
    with monkeypatch.context() as patch:
        patch.setattr(waits, "pool", 0.05)
        patch.setattr(waits, "connect", 0.05)
        yield


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


async def leave_alone(connection: asyncpg.Connection) -> None:
    """Nothing to be done with a new connection."""


async def soon(awaitable: Awaitable[T]) -> T:
    """What it says; an error instead of a test that never ends."""
    return await asyncio.wait_for(awaitable, 10)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what only the server knows the time of."""
    async with asyncio.timeout(5):
        while not await holds():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def turns() -> None:
    """Let all others go on as far as they get without the database."""
    for _ in range(10):
        await asyncio.sleep(0)


def pid_of(lent: Lent) -> int:
    """The process of the server behind a connection."""
    pid: int = lent.connection.get_server_pid()
    return pid


def pids_of(held: list[Lent]) -> list[int]:
    """Those of several; a connection that is closed knows its own no more."""
    return [pid_of(lent) for lent in held]


async def take(pool: Pool, count: int) -> list[Lent]:
    """So many connections, each at work."""
    return [await usable(pool) for _ in range(count)]


async def usable(pool: Pool) -> Lent:
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


async def test_connection_used_last_is_used_next(make_pool: MakePool) -> None:
    pool = make_pool(size=3)
    first, second, third = await take(pool, 3)
    for lent in (first, third, second):
        pool.give_back(lent)
    assert [await pool.take() for _ in range(2)] == [second, third]
    pool.give_back(second)
    assert [await pool.take() for _ in range(2)] == [second, first]


async def test_one_after_the_other_needs_one_connection(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=3)
    for _ in range(10):
        pool.give_back(await usable(pool))
    assert len(await outside.pids()) == 1


async def test_never_more_than_the_size_at_once(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=3)
    used: set[int] = set()
    in_use = most = 0
    all_lent = asyncio.Event()

    async def use() -> None:
        nonlocal in_use, most
        lent = await pool.take()
        in_use += 1
        most = max(most, in_use)
        used.add(pid_of(lent))
        if in_use == 3:
            all_lent.set()
        await all_lent.wait()
        await lent.connection.execute("SELECT 1")
        in_use -= 1
        pool.give_back(lent)

    await soon(asyncio.gather(*(use() for _ in range(30))))
    assert (in_use, most) == (0, 3)
    assert used == await outside.pids()
    assert len(used) == 3
    await assert_size(pool, 3)


async def test_those_that_wait_get_one_in_the_order_they_came(make_pool: MakePool) -> None:
    pool = make_pool(size=2)
    held = await take(pool, 2)
    order: list[int] = []
    go_on = [asyncio.Event() for _ in range(5)]

    async def use(number: int) -> None:
        lent = await pool.take()
        order.append(number)
        await go_on[number].wait()
        pool.give_back(lent)

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await turns()
    assert order == []
    pool.give_back(held[0])
    await turns()
    assert order == [0]
    go_on[0].set()
    await turns()
    assert order == [0, 1]
    # Two at once.
    pool.give_back(held[1])
    go_on[1].set()
    await turns()
    assert order == [0, 1, 2, 3]
    go_on[3].set()
    await turns()
    assert order == [0, 1, 2, 3, 4]
    go_on[2].set()
    go_on[4].set()
    await soon(asyncio.gather(*tasks))
    await assert_size(pool, 2)


async def test_nobody_overtakes_one_that_waits(make_pool: MakePool) -> None:
    pool = make_pool(size=1)
    (held,) = await take(pool, 1)
    waiting = asyncio.create_task(pool.take())
    await turns()
    # It begins when the connection lies there already, promised to the one that waits.
    late = asyncio.create_task(pool.take())
    pool.give_back(held)
    assert (await soon(waiting)).connection is held.connection
    await turns()
    assert not late.done()
    pool.give_back(held)
    assert (await soon(late)).connection is held.connection


async def test_wait_for_a_connection_that_is_promised_to_another_ends_with_a_timeout_too(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(size=1)
    (held,) = await take(pool, 1)
    waiting = asyncio.create_task(pool.take())
    await turns()
    with impatient(monkeypatch):
        # It begins in the turn before the other one wakes.
        late = asyncio.create_task(pool.take())
        pool.give_back(held)
        assert await soon(waiting) == held
        done, _ = await asyncio.wait({late}, timeout=5)
    late.cancel()
    assert done
    assert isinstance(late.exception(), TimeoutError)
    pool.give_back(held)
    await assert_size(pool, 1)


async def test_one_that_waits_gets_a_new_connection_for_one_that_is_ended(make_pool: MakePool) -> None:
    pool = make_pool(size=1)
    (held,) = await take(pool, 1)
    pid = pid_of(held)
    waiting = asyncio.create_task(pool.take())
    await turns()
    pool.end(held)
    lent = await soon(waiting)
    assert pid_of(lent) != pid
    pool.give_back(lent)
    await assert_size(pool, 1)


@pytest.mark.parametrize("is_promised", [False, True])
async def test_one_that_waits_and_is_cancelled_loses_no_slot(make_pool: MakePool, *, is_promised: bool) -> None:
    pool = make_pool(size=2)
    held = await take(pool, 2)
    cancelled, other = [asyncio.create_task(pool.take()) for _ in range(2)]
    await turns()
    if is_promised:
        pool.give_back(held[0])
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(cancelled)
    if not is_promised:
        await turns()
        assert not other.done()
        pool.give_back(held[0])
    assert (await soon(other)).connection is held[0].connection
    for lent in held:
        pool.give_back(lent)
    await assert_size(pool, 2)


async def test_one_that_is_cancelled_alone_loses_no_slot(make_pool: MakePool) -> None:
    pool = make_pool(size=1)
    (held,) = await take(pool, 1)
    cancelled = asyncio.create_task(pool.take())
    await turns()
    pool.give_back(held)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(cancelled)
    await assert_size(pool, 1)


async def test_wait_ends_with_a_timeout_that_loses_no_slot(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(size=2)
    held = await take(pool, 2)
    with impatient(monkeypatch):
        said = await soon(asyncio.gather(*(pool.take() for _ in range(3)), return_exceptions=True))
    assert [type(error) for error in said] == [TimeoutError] * 3
    for lent in held:
        pool.give_back(lent)
    await assert_size(pool, 2)


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


async def test_end_closes_and_frees_the_slot(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=1)
    ended = []
    for _ in range(3):
        lent = await usable(pool)
        ended.append(pid_of(lent))
        pool.end(lent)
        assert lent.connection.is_closed()
    await outside.gone(*ended)
    assert len(set(ended)) == 3
    await assert_size(pool, 1)


async def test_end_idle_closes_those_idle_and_not_those_in_use(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=3)
    kept, *idle = await take(pool, 3)
    pids = pids_of(idle)
    for lent in idle:
        pool.give_back(lent)
    pool.end_idle()
    await outside.gone(*pids)
    assert await outside.pids() == {pid_of(kept)}
    assert await kept.connection.fetchval("SELECT 1") == 1
    pool.give_back(kept)
    assert await usable(pool) == kept
    pool.give_back(kept)
    await assert_size(pool, 3)


async def test_close_ends_those_in_use_too(make_pool: MakePool, outside: Outside) -> None:
    pool = make_pool(size=3)
    in_use, *idle = held = await take(pool, 3)
    pids = pids_of(held)
    for lent in idle:
        pool.give_back(lent)
    statement = asyncio.create_task(in_use.connection.execute("SELECT pg_sleep(1)"))
    await outside.running(beside=set())
    pool.close()
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await soon(statement)
    assert all(lent.connection.is_closed() for lent in held)
    await outside.gone(*pids)


async def test_cancelled_statements_lose_no_slot_and_their_connections_are_not_used_again(
    direct: Direct, outside: Outside
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


async def test_statements_cancelled_together_with_one_that_waits_lose_no_slot(direct: Direct, outside: Outside) -> None:
    statements = [asyncio.create_task(direct.rows(LONG)) for _ in range(3)]
    cancelled = await outside.running(beside=set(), count=2)
    for statement in statements:
        statement.cancel()
    said = await soon(asyncio.gather(*statements, return_exceptions=True))
    assert [type(error) for error in said] == [asyncio.CancelledError] * 3
    used = set(await soon(asyncio.gather(*(direct.value(SLOW_PID) for _ in range(6)))))
    assert len(used) == 2
    assert used.isdisjoint(cancelled)


async def test_cancelled_statement_does_not_go_on_in_the_server(direct: Direct, outside: Outside) -> None:
    statement = asyncio.create_task(direct.rows(LONGER))
    pids = await outside.running(beside=set())
    statement.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(statement)
    # Or there are more connections than the size, each at the work of nobody.
    await outside.gone(*pids)


async def test_read_under_way_at_the_close_leaves_no_connection(direct: Direct, outside: Outside) -> None:
    statement = asyncio.create_task(direct.rows(text("SELECT pg_sleep(0.3)")))
    before = await outside.running(beside=set())
    direct.close()
    await soon(asyncio.gather(statement, return_exceptions=True))
    after = await outside.pids() - before
    # What was opened behind the first close would otherwise be a warning in some other test.
    direct.close()
    assert after == set()


async def test_refused_statement_keeps_its_connection(direct: Direct) -> None:
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
