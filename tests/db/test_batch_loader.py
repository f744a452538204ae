"""Concurrent calls of the batch loader share a look-up, which begins after each of them."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.look_ups import Source, context_name, request, results
from tests.db.waiting import run_other_tasks, soon


async def test_first_call_looks_up_alone_and_at_once(loader: BatchLoader[str, int], source: Source) -> None:
    first = asyncio.create_task(loader.get("a"))
    # The look-up begins when the task first runs.
    await asyncio.sleep(0)
    assert not await source.is_quiet()
    call = await source.next()
    assert call.keys == ["a"]
    call.response.set_result({"a": 1})
    assert await soon(first) == 1
    assert await source.is_quiet()


async def test_calls_during_a_look_up_share_the_next_one(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "c", "d")
    assert await source.is_quiet()
    call.response.set_result({"a": 1})
    assert await soon(first) == 1
    call = await source.next()
    assert sorted(call.keys) == ["b", "c", "d"]
    call.response.set_result({"b": 2, "c": 3, "d": 4})
    assert await results(*others) == [2, 3, 4]
    assert await source.is_quiet()


async def test_calls_during_the_second_look_up_share_a_third_one(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    (second,) = await request(loader, "b")
    call.response.set_result({"a": 1})
    call = await source.next()
    others = await request(loader, "c", "d")
    assert await source.is_quiet()
    call.response.set_result({"b": 2})
    call = await source.next()
    assert sorted(call.keys) == ["c", "d"]
    call.response.set_result({"c": 3, "d": 4})
    assert await results(first, second, *others) == [1, 2, 3, 4]


async def test_call_after_all_results_looks_up_at_once(loader: BatchLoader[str, int], source: Source) -> None:
    for value in range(3):
        (task,) = await request(loader, "a")
        (await source.next()).response.set_result({"a": value})
        assert await soon(task) == value


async def test_key_without_value_returns_none(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "c")
    call.response.set_result({})
    (await source.next()).response.set_result({"c": 3})
    assert await results(first, *others) == [None, None, 3]


async def test_same_key_of_two_calls_returns_its_value_to_both(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    others = await request(loader, "b", "b", "a")
    call.response.set_result({"a": 1})
    call = await source.next()
    assert set(call.keys) == {"a", "b"}
    call.response.set_result({"a": 3, "b": 2})
    assert await results(first, *others) == [1, 2, 2, 3]


async def test_value_is_not_older_than_its_call() -> None:
    now = 0
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def look_up(keys: list[str]) -> Mapping[str, int]:
        seen = now
        begun.set()
        await go_on.wait()
        return dict.fromkeys(keys, seen)

    loader = BatchLoader(look_up)
    (first,) = await request(loader, "a")
    await soon(begun.wait())
    now = 1
    (second,) = await request(loader, "a")
    begun.clear()
    go_on.set()
    assert await soon(first) == 0
    go_on.clear()
    # The second look-up has read 1; a call from now on has to read 2.
    await soon(begun.wait())
    now = 2
    (third,) = await request(loader, "a")
    go_on.set()
    assert await results(second, third) == [1, 2]


async def test_call_when_the_first_result_arrives_gets_its_value(loader: BatchLoader[str, int], source: Source) -> None:
    (first,) = await request(loader, "a")
    call = await source.next()
    (second,) = await request(loader, "b")
    late: list[asyncio.Task[int | None]] = []
    # Called when the first call has its result and the next look-up is scheduled but has not begun.
    first.add_done_callback(lambda _: late.append(asyncio.create_task(loader.get("c"))))
    call.response.set_result({"a": 1})
    assert await soon(first) == 1
    await run_other_tasks()
    values = {"b": 2, "c": 3}
    while not late[0].done():
        call = await source.next()
        call.response.set_result({key: values[key] for key in call.keys})
        await run_other_tasks()
    assert await results(second, *late) == [2, 3]
    assert await source.is_quiet()


async def test_shared_look_up_runs_in_an_empty_context(loader: BatchLoader[str, int], source: Source) -> None:
    async def request_as(name: str, key: str) -> int | None:
        context_name.set(name)
        return await loader.get(key)

    first = asyncio.create_task(request_as("first", "a"))
    call = await source.next()
    assert call.context == "first"
    second = asyncio.create_task(request_as("second", "b"))
    await run_other_tasks()
    call.response.set_result({"a": 1})
    call = await source.next()
    assert call.context == "empty"
    third = asyncio.create_task(request_as("third", "c"))
    await run_other_tasks()
    call.response.set_result({"b": 2})
    call = await source.next()
    assert call.context == "empty"
    call.response.set_result({"c": 3})
    assert await results(first, second, third) == [1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
async def test_random_calls_never_overlap_look_ups(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    running = most = calls = 0

    async def look_up(keys: list[int]) -> Mapping[int, int]:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        try:
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
        finally:
            running -= 1
        return {key: key * key for key in keys if key % 7}

    loader = BatchLoader(look_up)

    async def get(key: int) -> int | None:
        for _ in range(chance.randrange(50)):
            await asyncio.sleep(0)
        return await loader.get(key)

    keys = [chance.randrange(100) for _ in range(200)]
    tasks = [asyncio.create_task(get(key)) for key in keys]
    cancelled = set(chance.sample(range(200), 20))
    for number in cancelled:
        await asyncio.sleep(0)
        tasks[number].cancel()
    found = await soon(asyncio.gather(*tasks, return_exceptions=True))
    for number, (key, value) in enumerate(zip(keys, found, strict=True)):
        if number in cancelled and isinstance(value, asyncio.CancelledError):
            continue
        assert value == (key * key if key % 7 else None)
    await run_other_tasks()
    assert (running, most) == (0, 1)
    assert calls < 200
