"""Slots and deadlines of requests: given, waited for, refused, released; no slot is lost."""

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
    """A clock for the test's own loop. Also removes the slot from the context that all tests share."""
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time())
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", clock.time)
        yield clock
        ConcurrencyLimiter(1, waiting=0).finish()


async def waiting(limiter: ConcurrencyLimiter, number: int) -> list[asyncio.Task[bool]]:
    """Return requests that acquire a slot one after the other."""
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


def results(tasks: list[asyncio.Task[bool]]) -> list[bool | None]:
    """Return the result of each request, or None while the request waits."""
    return [task.result() if task.done() else None for task in tasks]


async def settled(tasks: list[asyncio.Task[bool]]) -> list[bool | None]:
    """Return the results after the other tasks have run."""
    for _ in range(3):
        await asyncio.sleep(0)
    return results(tasks)


async def test_requests_beyond_slots_and_queue_are_refused() -> None:
    limiter = ConcurrencyLimiter(2, waiting=4)
    requests = await waiting(limiter, 7)
    assert await settled(requests) == [True, True, None, None, None, None, False]
    assert (limiter.in_flight, limiter.refused) == (2, 1)
    for task in requests:
        task.cancel()


async def test_released_slot_goes_to_a_waiting_request() -> None:
    limiter = ConcurrencyLimiter(1, waiting=4)
    requests = await waiting(limiter, 3)
    limiter.release()
    assert await settled(requests) == [True, True, None]
    limiter.release()
    assert await settled(requests) == [True, True, True]
    assert limiter.in_flight == 1
    limiter.release()
    assert limiter.in_flight == 0
    assert await limiter.acquire()


async def test_queue_over_half_full_serves_the_newest_first() -> None:
    limiter = ConcurrencyLimiter(1, waiting=4)
    requests = await waiting(limiter, 5)
    limiter.release()
    assert await settled(requests) == [True, None, None, None, True]
    limiter.release()
    assert await settled(requests) == [True, None, None, True, True]
    limiter.release()  # two are left: half of the queue
    assert await settled(requests) == [True, True, None, True, True]
    requests[2].cancel()


async def test_request_that_waits_too_long_is_refused(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    requests = await waiting(limiter, 3)
    await clock.advance(module.QUEUE_TIMEOUT_SECONDS + 1)
    assert results(requests) == [True, False, False]
    assert (limiter.in_flight, limiter.refused) == (1, 2)
    limiter.release()
    assert limiter.in_flight == 0


async def test_cancelled_wait_loses_no_slot() -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    requests = await waiting(limiter, 3)
    requests[1].cancel()
    limiter.release()
    assert (await asyncio.gather(*requests, return_exceptions=True))[2] is True
    assert limiter.in_flight == 1
    last = await waiting(limiter, 1)
    limiter.release()
    last[0].cancel()  # at the moment in which it gets the slot
    await asyncio.gather(*last, return_exceptions=True)
    assert limiter.in_flight == 0
    assert limiter.refused == 0


async def test_released_slot_serves_another_request_meanwhile() -> None:
    limiter = ConcurrencyLimiter(1, waiting=2)
    assert await limiter.acquire()
    with released_slot():
        assert limiter.in_flight == 0
        assert await limiter.acquire()
    assert limiter.in_flight == 2
    requests = await waiting(limiter, 1)
    limiter.release()
    assert await settled(requests) == [None]
    limiter.release()
    assert await settled(requests) == [True]


async def test_released_slot_without_a_slot_does_nothing() -> None:
    with released_slot():
        pass


async def is_late(clock: Clock, seconds: float, *waits: float, released_in: Collection[int] = ()) -> bool:
    """Return whether these waits, some of which are without a slot, run into the deadline."""
    try:
        with RequestDeadline(seconds):
            for number, wait in enumerate(waits):
                with released_slot() if number in released_in else nullcontext():
                    await clock.advance(wait)
    except TimeoutError:
        return True
    return False


async def test_request_after_its_deadline_raises_timeout(clock: Clock) -> None:
    assert await ConcurrencyLimiter(1, waiting=0).acquire()
    assert not await is_late(clock, 10, 0, 9)
    assert await is_late(clock, 20, 0, 12)


async def test_deadline_includes_the_time_in_the_queue(clock: Clock) -> None:
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


async def test_deadline_excludes_the_time_without_a_slot(clock: Clock) -> None:
    assert await ConcurrencyLimiter(1, waiting=0).acquire()
    assert not await is_late(clock, 5, 3, 0, 3, 0, released_in={0, 2})
    assert await is_late(clock, 5, 3, 0, 3, 10, released_in={0, 2})


async def test_nested_released_slot_releases_one_slot(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()
    with released_slot():
        assert not await is_late(clock, 5, 10, released_in={0})
        assert limiter.in_flight == 0
    assert limiter.in_flight == 1


async def test_released_slot_after_the_deadline_is_reacquired(clock: Clock) -> None:
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()

    async def tidied() -> None:
        with RequestDeadline(1):
            try:
                await clock.advance(2)
            finally:
                with released_slot():
                    await clock.advance(2)

    with pytest.raises(TimeoutError):
        await tidied()
    assert limiter.in_flight == 1


async def test_cancellation_from_outside_raises_cancelled_error(clock: Clock) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        assert await ConcurrencyLimiter(1, waiting=0).acquire()
        with RequestDeadline(10):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_deadline_without_a_slot_never_expires(clock: Clock) -> None:
    assert not await is_late(clock, 0, 1)
    limiter = ConcurrencyLimiter(1, waiting=0)
    assert await limiter.acquire()
    limiter.finish()
    assert limiter.in_flight == 0
    assert not await is_late(clock, 0, 1)
