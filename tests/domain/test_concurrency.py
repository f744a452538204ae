"""Who gets a turn at once, who waits for one, who is refused; and that none is lost."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import nullcontext

import pytest

from kitsu.domain import concurrency as module
from kitsu.domain.concurrency import ConcurrencyLimiter, RequestDeadline, released_slot


@pytest.fixture(autouse=True)
async def no_turn_is_left() -> AsyncIterator[None]:
    """The context of a request ends with it; all tests have one context."""
    yield
    ConcurrencyLimiter(1, waiting=0).end()


async def waiting(turns: ConcurrencyLimiter, number: int) -> list[asyncio.Task[bool]]:
    """So many that ask one after the other, and wait."""
    tasks = [asyncio.create_task(turns.take()) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


def results(tasks: list[asyncio.Task[bool]]) -> list[bool | None]:
    """What each was told, None while it waits."""
    return [task.result() if task.done() else None for task in tasks]


async def settled(tasks: list[asyncio.Task[bool]]) -> list[bool | None]:
    """What each was told, once all that has been done is known."""
    for _ in range(3):
        await asyncio.sleep(0)
    return results(tasks)


async def test_so_many_at_once_then_so_many_wait_then_none() -> None:
    turns = ConcurrencyLimiter(2, waiting=4)
    asked = await waiting(turns, 7)
    assert await settled(asked) == [True, True, None, None, None, None, False]
    assert (turns.in_flight, turns.refused) == (2, 1)
    for task in asked:
        task.cancel()


async def test_who_waits_gets_the_turn_that_is_given_back() -> None:
    turns = ConcurrencyLimiter(1, waiting=4)
    asked = await waiting(turns, 3)
    turns.give_back()
    assert await settled(asked) == [True, True, None]
    turns.give_back()
    assert await settled(asked) == [True, True, True]
    assert turns.in_flight == 1
    turns.give_back()
    assert turns.in_flight == 0
    assert await turns.take()


async def test_the_newest_first_while_the_room_is_more_than_half_full() -> None:
    turns = ConcurrencyLimiter(1, waiting=4)
    asked = await waiting(turns, 5)
    turns.give_back()
    assert await settled(asked) == [True, None, None, None, True]
    turns.give_back()
    assert await settled(asked) == [True, None, None, True, True]
    turns.give_back()  # two are left: half of the room
    assert await settled(asked) == [True, True, None, True, True]
    asked[2].cancel()


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_TIMEOUT_SECONDS", 0.01)
    turns = ConcurrencyLimiter(1, waiting=2)
    asked = await waiting(turns, 3)
    assert await asyncio.gather(*asked) == [True, False, False]
    assert (turns.in_flight, turns.refused) == (1, 2)
    turns.give_back()
    assert turns.in_flight == 0


async def test_who_goes_away_takes_no_turn_along() -> None:
    turns = ConcurrencyLimiter(1, waiting=2)
    asked = await waiting(turns, 3)
    asked[1].cancel()
    turns.give_back()
    assert (await asyncio.gather(*asked, return_exceptions=True))[2] is True
    assert turns.in_flight == 1
    last = await waiting(turns, 1)
    turns.give_back()
    last[0].cancel()  # in the moment in which it is given the turn
    await asyncio.gather(*last, return_exceptions=True)
    assert turns.in_flight == 0
    assert turns.refused == 0


async def test_one_that_waits_for_something_else_lets_another_go_on() -> None:
    turns = ConcurrencyLimiter(1, waiting=2)
    assert await turns.take()
    with released_slot():
        assert turns.in_flight == 0
        assert await turns.take()
    assert turns.in_flight == 2
    asked = await waiting(turns, 1)
    turns.give_back()
    assert await settled(asked) == [None]
    turns.give_back()
    assert await settled(asked) == [True]


async def test_without_turns_there_is_nothing_to_let_go() -> None:
    with released_slot():
        pass


async def is_late(seconds: float, *waits: float, aside_from: Collection[int] = ()) -> bool:
    """Whether these waits, some of which are aside, end in time."""
    try:
        async with RequestDeadline(seconds):
            for number, wait in enumerate(waits):
                with released_slot() if number in aside_from else nullcontext():
                    await asyncio.sleep(wait)
    except TimeoutError:
        return True
    return False


async def test_nothing_takes_longer_than_it_may() -> None:
    assert await ConcurrencyLimiter(1, waiting=0).take()
    assert not await is_late(10, 0, 0.01)
    assert await is_late(0.01, 0, 10)


async def test_the_waiting_for_a_turn_counts() -> None:
    turns = ConcurrencyLimiter(1, waiting=1)
    assert await turns.take()
    asyncio.get_running_loop().call_later(0.15, turns.give_back)
    assert await turns.take()
    assert await is_late(0.2, 0, 0.15)


async def test_what_is_aside_does_not_count() -> None:
    assert await ConcurrencyLimiter(1, waiting=0).take()
    assert not await is_late(0.5, 0.3, 0, 0.3, 0, aside_from={0, 2})
    assert await is_late(0.5, 0.3, 0, 0.3, 10, aside_from={0, 2})


async def test_aside_within_aside_gives_one_turn_back() -> None:
    turns = ConcurrencyLimiter(1, waiting=0)
    assert await turns.take()
    with released_slot():
        assert not await is_late(0.05, 0.1, aside_from={0})
        assert turns.in_flight == 0
    assert turns.in_flight == 1


async def test_what_ran_out_of_time_may_still_wait_aside() -> None:
    turns = ConcurrencyLimiter(1, waiting=0)
    assert await turns.take()

    async def tidied() -> None:
        async with RequestDeadline(0.01):
            try:
                await asyncio.sleep(10)
            finally:
                with released_slot():
                    await asyncio.sleep(0.01)

    with pytest.raises(TimeoutError):
        await tidied()
    assert turns.in_flight == 1


async def test_a_cancellation_by_others_stays_one() -> None:
    async def asked() -> bool:
        assert await ConcurrencyLimiter(1, waiting=0).take()
        return await is_late(10, 10)

    task = asyncio.create_task(asked())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_turn_nothing_ends() -> None:
    assert not await is_late(0, 0.01)
    turns = ConcurrencyLimiter(1, waiting=0)
    assert await turns.take()
    turns.end()
    assert turns.in_flight == 0
    assert not await is_late(0, 0.01)
