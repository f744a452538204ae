"""Failed and cancelled calls of the batch loader: errors reach the right calls, and no call waits for ever."""

import asyncio

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.look_ups import Source, request, results
from tests.db.waiting import run_other_tasks, soon


async def check_next_call(loader: BatchLoader[str, int], source: Source, key: str) -> None:
    """Check that a call after all others gets a look-up of its own."""
    (again,) = await request(loader, key)
    (await source.next()).response.set_result({key: 1})
    assert await soon(again) == 1


async def test_error_of_the_first_look_up_is_raised_only_there(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "c")
    call.response.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    (await source.next()).response.set_result({"b": 2, "c": 3})
    assert await results(*others) == [2, 3]


async def test_error_of_a_shared_look_up_is_raised_by_its_calls_only(
    loader: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    failing = await request(loader, "b", "c")
    call.response.set_result({"a": 1})
    call = await source.next()
    (later,) = await request(loader, "d")
    call.response.set_exception(ConnectionError("away"))
    for task in failing:
        with pytest.raises(ConnectionError, match="away"):
            await soon(task)
    (await source.next()).response.set_result({"d": 4})
    assert await results(first, later) == [1, 4]
    await check_next_call(loader, source, "b")


async def test_call_after_an_error_succeeds(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    (await source.next()).response.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    await check_next_call(loader, source, "a")


async def test_cancelled_look_up_ends_all_its_calls(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "c")
    call.response.set_result({"a": 1})
    assert await soon(first) == 1
    # What the look-up awaits was cancelled, not the calls.
    (await source.next()).response.cancel()
    done, waiting = await asyncio.wait(others, timeout=2)
    for task in waiting:
        task.cancel()
    await run_other_tasks()
    assert (len(done), len(waiting)) == (2, 0)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_cancelled_call_leaves_the_values_of_others(
    loader: BatchLoader[str, int], source: Source, *, has_begun: bool
) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    one, cancelled, other = await request(loader, "b", "c", "d")
    if not has_begun:
        cancelled.cancel()
    call.response.set_result({"a": 1})
    call = await source.next()
    cancelled.cancel()
    await run_other_tasks()
    assert cancelled.cancelled()
    call.response.set_result({"b": 2, "c": 3, "d": 4})
    assert await results(first, one, other) == [1, 2, 4]


async def test_cancelled_call_leaves_the_error_of_others(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    cancelled, other = await request(loader, "b", "c")
    call.response.set_result({"a": 1})
    call = await source.next()
    cancelled.cancel()
    await run_other_tasks()
    call.response.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(other)
    assert await soon(first) == 1
    assert cancelled.cancelled()


async def test_cancelled_first_call_leaves_the_values_of_others(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "a")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    assert call.response.cancelled()
    call = await source.next()
    assert sorted(call.keys) == ["a", "b"]
    call.response.set_result({"a": 1, "b": 2})
    assert await results(*others) == [2, 1]
    assert await source.is_quiet()


async def test_call_after_a_cancelled_one_succeeds(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    await source.next()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    await check_next_call(loader, source, "a")


@pytest.mark.parametrize("is_first_cancelled", [False, True])
async def test_call_after_all_waiting_ones_were_cancelled_succeeds(
    loader: BatchLoader[str, int], source: Source, *, is_first_cancelled: bool
) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    cancelled = await request(loader, "b", "c")
    for task in cancelled:
        task.cancel()
    await run_other_tasks()
    if is_first_cancelled:
        first.cancel()
    else:
        call.response.set_result({"a": 1})
    await run_other_tasks()
    (again,) = await request(loader, "d")
    # It may also look up the keys of cancelled calls.
    while not again.done():
        call = await source.next()
        call.response.set_result({key: 4 for key in call.keys if key == "d"})
        await run_other_tasks()
    assert await soon(again) == 4
    assert all(task.cancelled() for task in cancelled)
    assert first.cancelled() == is_first_cancelled
