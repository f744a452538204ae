"""Who gets a turn at once, who waits for one, who is refused; and that none is lost."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import nullcontext

import pytest
import pytest_asyncio

from kitsu.domain import concurrency as module
from kitsu.domain.concurrency import ConcurrencyLimiter, RequestDeadline, released_slot

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Clock:
    """The clock of the event loop, which stands still until a test advances it."""

    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        """Return the time that the loop and its timers see."""
        return self._now

    async def advance(self, seconds: float) -> None:
        """Move the time, and let the timers that are due run."""
        self._now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest_asyncio.fixture(loop_scope="function", autouse=True)
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    """A clock of the test's own, on a loop of its own; no slot is left in the context that all tests share."""
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time())
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", clock.time)
        yield clock
        ConcurrencyLimiter(1, waiting=0).finish()


async def waiting(limiter: ConcurrencyLimiter, number: int) -> list[asyncio.Task[bool]]:
    """So many that ask one after the other, and wait."""
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(number)]
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
    limiter = ConcurrencyLimiter(2, waiting=4)
    asked = await waiting(limiter, 7)
    assert await settled(asked) == [True, True, None, None, None, None, False]
    assert (limiter.in_flight, limiter.refused) == (2, 1)
    for task in asked:
        task.cancel()


async def test_who_waits_gets_the_turn_that_is_given_back() -> None:
    limiter = ConcurrencyLimiter(1, waiting=4)
    asked = await waiting(limiter, 3)
    limiter.release()
    assert await settled(asked) == [True, True, None]
    limiter.release()
    assert await settled(asked) == [True, True, True]
    assert limiter.in_flight == 1
    limiter.release()
    assert limiter.in_flight == 0
    assert await limiter.acquire()


async def test_the_newest_first_while_the_room_is_more_than_half_full() -> None:
    limiter = ConcurrencyLimiter(1, waiting=4)
    asked = await waiting(limiter, 5)
    limiter.release()
    assert await settled(asked) == [True, None, None, None, True]
    limiter.release()
    assert await settled(asked) == [True, None, None, True, True]
    limiter.release()  # two are left: half of the room
    assert await settled(asked) == [True, True, None, True, True]
    asked[2].cancel()


async def test_request_that_waits_too_long_gets_no_slot(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    asked = await waiting(limiter, 3)
    await clock.advance(module.QUEUE_TIMEOUT_SECONDS + 1)
    assert results(asked) == [True, False, False]
    assert (limiter.in_flight, limiter.refused) == (1, 2)
    limiter.release()
    assert limiter.in_flight == 0


async def test_who_goes_away_takes_no_turn_along() -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    asked = await waiting(limiter, 3)
    asked[1].cancel()
    limiter.release()
    assert (await asyncio.gather(*asked, return_exceptions=True))[2] is True
    assert limiter.in_flight == 1
    last = await waiting(limiter, 1)
    limiter.release()
    last[0].cancel()  # in the moment in which it is given the turn
    await asyncio.gather(*last, return_exceptions=True)
    assert limiter.in_flight == 0
    assert limiter.refused == 0


async def test_one_that_waits_for_something_else_lets_another_go_on() -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    assert await limiter.acquire()
    with released_slot():
        assert limiter.in_flight == 0
        assert await limiter.acquire()
    assert limiter.in_flight == 2
    asked = await waiting(limiter, 1)
    limiter.release()
    assert await settled(asked) == [None]
    limiter.release()
    assert await settled(asked) == [True]


async def test_without_turns_there_is_nothing_to_let_go() -> None:
    with released_slot():
        pass


async def is_late(clock: Clock, seconds: float, *waits: float, aside_from: Collection[int] = ()) -> bool:
    """Return whether these waits, some of which are aside, run into the deadline."""
    try:
        async with RequestDeadline(seconds):
            for number, wait in enumerate(waits):
                with released_slot() if number in aside_from else nullcontext():
                    await clock.advance(wait)
    except TimeoutError:
        return True
    return False


async def test_request_ends_at_its_deadline(clock: Clock) -> None:
    assert await ConcurrencyLimiter(1, waiting=0).acquire()
    assert not await is_late(clock, 10, 0, 9)
    assert await is_late(clock, 20, 0, 12)


async def test_time_in_the_queue_counts(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=1)
    assert await limiter.acquire()
    waiter = asyncio.create_task(wait_then_work(clock, limiter))
    await asyncio.sleep(0)
    await clock.advance(0.5)
    limiter.release()
    assert await waiter


async def wait_then_work(clock: Clock, limiter: ConcurrencyLimiter) -> bool:
    """Return whether a request that waited for its slot is late."""
    assert await limiter.acquire()
    return await is_late(clock, 1, 0, 0.6)


async def test_time_aside_does_not_count(clock: Clock) -> None:
    assert await ConcurrencyLimiter(1, waiting=0).acquire()
    assert not await is_late(clock, 5, 3, 0, 3, 0, aside_from={0, 2})
    assert await is_late(clock, 5, 3, 0, 3, 10, aside_from={0, 2})


async def test_aside_within_aside_gives_one_slot_back(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()
    with released_slot():
        assert not await is_late(clock, 5, 10, aside_from={0})
        assert limiter.in_flight == 0
    assert limiter.in_flight == 1


async def test_cut_request_may_still_wait_aside(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()

    async def tidied() -> None:
        async with RequestDeadline(1):
            try:
                await clock.advance(2)
            finally:
                with released_slot():
                    await clock.advance(2)

    with pytest.raises(TimeoutError):
        await tidied()
    assert limiter.in_flight == 1


async def test_cancellation_by_others_stays_one(clock: Clock) -> None:
    begun = asyncio.Event()

    async def asked() -> None:
        assert await ConcurrencyLimiter(1, waiting=0).acquire()
        async with RequestDeadline(10):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(asked())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_slot_there_is_no_deadline(clock: Clock) -> None:
    assert not await is_late(clock, 0, 1)
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()
    limiter.finish()
    assert limiter.in_flight == 0
    assert not await is_late(clock, 0, 1)
