"""Questions asked at the same time: in one look-up, which has not begun before any of them was asked."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.look_ups import Source, answers, ask, asker
from tests.db.waiting import soon, turns


async def test_first_asks_alone_and_at_once(together: BatchLoader[str, int], source: Source) -> None:
    first = asyncio.create_task(together.get("a"))
    # One turn for the task, and its look-up is under way.
    await asyncio.sleep(0)
    assert not await source.is_quiet()
    call = await source.next()
    assert call.keys == ["a"]
    call.answer.set_result({"a": 1})
    assert await soon(first) == 1
    assert await source.is_quiet()


async def test_those_that_come_meanwhile_are_asked_together(together: BatchLoader[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c", "d")
    assert await source.is_quiet()
    call.answer.set_result({"a": 1})
    assert await soon(first) == 1
    call = await source.next()
    assert sorted(call.keys) == ["b", "c", "d"]
    call.answer.set_result({"b": 2, "c": 3, "d": 4})
    assert await answers(*others) == [2, 3, 4]
    assert await source.is_quiet()


async def test_those_that_come_during_the_second_are_asked_in_a_third(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    (second,) = await ask(together, "b")
    call.answer.set_result({"a": 1})
    call = await source.next()
    others = await ask(together, "c", "d")
    assert await source.is_quiet()
    call.answer.set_result({"b": 2})
    call = await source.next()
    assert sorted(call.keys) == ["c", "d"]
    call.answer.set_result({"c": 3, "d": 4})
    assert await answers(first, second, *others) == [1, 2, 3, 4]


async def test_one_that_asks_after_all_are_answered_is_a_first_again(
    together: BatchLoader[str, int], source: Source
) -> None:
    for value in range(3):
        (asked,) = await ask(together, "a")
        (await source.next()).answer.set_result({"a": value})
        assert await soon(asked) == value


async def test_key_without_value_is_none(together: BatchLoader[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c")
    call.answer.set_result({})
    (await source.next()).answer.set_result({"c": 3})
    assert await answers(first, *others) == [None, None, 3]


async def test_key_that_two_ask_for_answers_both(together: BatchLoader[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "b", "a")
    call.answer.set_result({"a": 1})
    call = await source.next()
    assert set(call.keys) == {"a", "b"}
    call.answer.set_result({"a": 3, "b": 2})
    assert await answers(first, *others) == [1, 2, 2, 3]


async def test_no_answer_is_older_than_its_question() -> None:
    now = 0
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def look_up(keys: list[str]) -> Mapping[str, int]:
        seen = now
        begun.set()
        await go_on.wait()
        return dict.fromkeys(keys, seen)

    together = BatchLoader(look_up)
    (first,) = await ask(together, "a")
    await soon(begun.wait())
    now = 1
    (second,) = await ask(together, "a")
    begun.clear()
    go_on.set()
    assert await soon(first) == 0
    go_on.clear()
    # The second look-up is under way: it has seen 1, and whoever asks from now on is to see 2.
    await soon(begun.wait())
    now = 2
    (third,) = await ask(together, "a")
    go_on.set()
    assert await answers(second, third) == [1, 2]


async def test_question_in_the_turn_in_which_the_first_is_answered(
    together: BatchLoader[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    (second,) = await ask(together, "b")
    late: list[asyncio.Task[int | None]] = []
    # Called once the first is answered, when the next look-up is decided on but has not begun.
    first.add_done_callback(lambda _: late.append(asyncio.create_task(together.get("c"))))
    call.answer.set_result({"a": 1})
    assert await soon(first) == 1
    await turns()
    values = {"b": 2, "c": 3}
    while not late[0].done():
        call = await source.next()
        call.answer.set_result({key: values[key] for key in call.keys})
        await turns()
    assert await answers(second, *late) == [2, 3]
    assert await source.is_quiet()


async def test_look_up_for_others_runs_in_the_context_of_nobody(
    together: BatchLoader[str, int], source: Source
) -> None:
    async def ask_as(name: str, key: str) -> int | None:
        asker.set(name)
        return await together.get(key)

    first = asyncio.create_task(ask_as("first", "a"))
    call = await source.next()
    assert call.asker == "first"
    second = asyncio.create_task(ask_as("second", "b"))
    await turns()
    call.answer.set_result({"a": 1})
    call = await source.next()
    assert call.asker == "nobody"
    third = asyncio.create_task(ask_as("third", "c"))
    await turns()
    call.answer.set_result({"b": 2})
    call = await source.next()
    assert call.asker == "nobody"
    call.answer.set_result({"c": 3})
    assert await answers(first, second, third) == [1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
async def test_there_is_never_more_than_one_look_up(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    under_way = most = calls = 0

    async def look_up(keys: list[int]) -> Mapping[int, int]:
        nonlocal under_way, most, calls
        under_way, calls = under_way + 1, calls + 1
        most = max(most, under_way)
        try:
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
        finally:
            under_way -= 1
        return {key: key * key for key in keys if key % 7}

    together = BatchLoader(look_up)

    async def get(key: int) -> int | None:
        for _ in range(chance.randrange(50)):
            await asyncio.sleep(0)
        return await together.get(key)

    keys = [chance.randrange(100) for _ in range(200)]
    tasks = [asyncio.create_task(get(key)) for key in keys]
    unlucky = set(chance.sample(range(200), 20))
    for number in unlucky:
        await asyncio.sleep(0)
        tasks[number].cancel()
    said = await soon(asyncio.gather(*tasks, return_exceptions=True))
    for number, (key, value) in enumerate(zip(keys, said, strict=True)):
        if number in unlucky and isinstance(value, asyncio.CancelledError):
            continue
        assert value == (key * key if key % 7 else None)
    await turns()
    assert (under_way, most) == (0, 1)
    assert calls < 200
