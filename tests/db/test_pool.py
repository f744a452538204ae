"""Connections that are lent: never too many, none lost, and to those that wait in the order they came."""

import asyncio

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
from tests.db.waiting import soon, turns


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
