"""Questions asked together that fail or are cancelled: an error reaches those it is of, and nobody waits for ever."""

import asyncio

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.look_ups import Source, answers, ask
from tests.db.waiting import soon, turns


async def check_next_call(together: BatchLoader[str, int], source: Source, key: str) -> None:
    """A call after all others is answered by a look-up of its own."""
    (again,) = await ask(together, key)
    (await source.next()).answer.set_result({key: 1})
    assert await soon(again) == 1


async def test_error_of_the_first_look_up_is_of_nobody_else(together: BatchLoader[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c")
    call.answer.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    (await source.next()).answer.set_result({"b": 2, "c": 3})
    assert await answers(*others) == [2, 3]


async def test_error_reaches_all_that_were_asked_together_and_nobody_else(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    failing = await ask(together, "b", "c")
    call.answer.set_result({"a": 1})
    call = await source.next()
    (later,) = await ask(together, "d")
    call.answer.set_exception(ConnectionError("away"))
    for task in failing:
        with pytest.raises(ConnectionError, match="away"):
            await soon(task)
    (await source.next()).answer.set_result({"d": 4})
    assert await answers(first, later) == [1, 4]
    await check_next_call(together, source, "b")


async def test_error_without_anybody_behind_it_leaves_the_next_call_working(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    (await source.next()).answer.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    await check_next_call(together, source, "a")


async def test_look_up_that_ends_as_cancelled_leaves_nobody_waiting(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c")
    call.answer.set_result({"a": 1})
    assert await soon(first) == 1
    # Something below the look-up was cancelled, none of those who wait.
    (await source.next()).answer.cancel()
    done, waiting = await asyncio.wait(others, timeout=2)
    for task in waiting:
        task.cancel()
    await turns()
    assert (len(done), len(waiting)) == (2, 0)


@pytest.mark.parametrize("is_under_way", [False, True])
async def test_one_that_is_cancelled_leaves_the_others_answered(
    together: BatchLoader[str, int], source: Source, *, is_under_way: bool
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    one, cancelled, other = await ask(together, "b", "c", "d")
    if not is_under_way:
        cancelled.cancel()
    call.answer.set_result({"a": 1})
    call = await source.next()
    cancelled.cancel()
    await turns()
    assert cancelled.cancelled()
    call.answer.set_result({"b": 2, "c": 3, "d": 4})
    assert await answers(first, one, other) == [1, 2, 4]


async def test_one_that_is_cancelled_leaves_the_error_to_the_others(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    cancelled, other = await ask(together, "b", "c")
    call.answer.set_result({"a": 1})
    call = await source.next()
    cancelled.cancel()
    await turns()
    call.answer.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(other)
    assert await soon(first) == 1
    assert cancelled.cancelled()


async def test_first_that_is_cancelled_leaves_the_others_answered(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "a")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    assert call.answer.cancelled()
    call = await source.next()
    assert sorted(call.keys) == ["a", "b"]
    call.answer.set_result({"a": 1, "b": 2})
    assert await answers(*others) == [2, 1]
    assert await source.is_quiet()


async def test_first_that_is_cancelled_alone_leaves_the_next_call_working(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    await source.next()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    await check_next_call(together, source, "a")


@pytest.mark.parametrize("is_first_cancelled", [False, True])
async def test_when_all_others_are_cancelled_the_next_call_works(
    together: BatchLoader[str, int], source: Source, *, is_first_cancelled: bool
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    cancelled = await ask(together, "b", "c")
    for task in cancelled:
        task.cancel()
    await turns()
    if is_first_cancelled:
        first.cancel()
    else:
        call.answer.set_result({"a": 1})
    await turns()
    (again,) = await ask(together, "d")
    # Whether it asks for those that nobody waits for any more is its own business.
    while not again.done():
        call = await source.next()
        call.answer.set_result({key: 4 for key in call.keys if key == "d"})
        await turns()
    assert await soon(again) == 4
    assert all(task.cancelled() for task in cancelled)
    assert first.cancelled() == is_first_cancelled
