"""Questions asked at the same time: in one look-up, which has not begun before any of them was asked."""

import asyncio
import random
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

import pytest

from kitsu.db.together import Together

T = TypeVar("T")

asker: ContextVar[str] = ContextVar("asker", default="nobody")


class LookUp(NamedTuple):
    """One that waits for its answer."""

    keys: list[str]
    answer: asyncio.Future[Mapping[str, int]]
    asker: str


class Source:
    """Looks up what the test says, when it says so."""

    def __init__(self) -> None:
        """Without a look-up yet."""
        self._begun: asyncio.Queue[LookUp] = asyncio.Queue()

    async def look_up(self, keys: list[str]) -> Mapping[str, int]:
        """What the test answers."""
        answer: asyncio.Future[Mapping[str, int]] = asyncio.get_running_loop().create_future()
        self._begun.put_nowait(LookUp(keys, answer, asker.get()))
        return await answer

    async def next(self) -> LookUp:
        """The look-up that begins next, or has begun."""
        return await soon(self._begun.get())

    async def is_quiet(self) -> bool:
        """Whether no other look-up begins, however often others get their turn."""
        await turns()
        return self._begun.empty()


@pytest.fixture
async def source() -> Source:
    """A source that nobody has asked."""
    return Source()


@pytest.fixture
async def together(source: Source) -> Together[str, int]:
    """What asks that source."""
    return Together(source.look_up)


async def soon(awaitable: Awaitable[T]) -> T:
    """What it says; an error instead of a test that never ends."""
    return await asyncio.wait_for(awaitable, 10)


async def turns() -> None:
    """Let all others go on as far as they get."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ask(together: Together[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    """Ask for each key in a task of its own, and return when all have asked."""
    tasks = [asyncio.create_task(together.get(key)) for key in keys]
    await turns()
    return tasks


async def answers(*tasks: asyncio.Task[int | None]) -> list[int | None]:
    """What each is told, in the order of the tasks."""
    return list(await soon(asyncio.gather(*tasks)))


async def test_first_asks_alone_and_at_once(together: Together[str, int], source: Source) -> None:
    first = asyncio.create_task(together.get("a"))
    # One turn for the task, and its look-up is under way.
    await asyncio.sleep(0)
    assert not await source.is_quiet()
    call = await source.next()
    assert call.keys == ["a"]
    call.answer.set_result({"a": 1})
    assert await soon(first) == 1
    assert await source.is_quiet()


async def test_those_that_come_meanwhile_are_asked_together(together: Together[str, int], source: Source) -> None:
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
    together: Together[str, int], source: Source
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
    together: Together[str, int], source: Source
) -> None:
    for value in range(3):
        (asked,) = await ask(together, "a")
        (await source.next()).answer.set_result({"a": value})
        assert await soon(asked) == value


async def test_key_without_value_is_none(together: Together[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c")
    call.answer.set_result({})
    (await source.next()).answer.set_result({"c": 3})
    assert await answers(first, *others) == [None, None, 3]


async def test_key_that_two_ask_for_answers_both(together: Together[str, int], source: Source) -> None:
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

    together = Together(look_up)
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
    together: Together[str, int], source: Source
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


async def test_error_of_the_first_look_up_is_of_nobody_else(together: Together[str, int], source: Source) -> None:
    (first,) = await ask(together, "a")
    call = await source.next()
    others = await ask(together, "b", "c")
    call.answer.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    (await source.next()).answer.set_result({"b": 2, "c": 3})
    assert await answers(*others) == [2, 3]


async def test_error_reaches_all_that_were_asked_together_and_nobody_else(
    together: Together[str, int], source: Source
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
    (again,) = await ask(together, "b")
    (await source.next()).answer.set_result({"b": 2})
    assert await soon(again) == 2


async def test_error_without_anybody_behind_it_leaves_the_next_call_working(
    together: Together[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    (await source.next()).answer.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await soon(first)
    (again,) = await ask(together, "a")
    (await source.next()).answer.set_result({"a": 1})
    assert await soon(again) == 1


async def test_look_up_that_ends_as_cancelled_leaves_nobody_waiting(
    together: Together[str, int], source: Source
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
    together: Together[str, int], source: Source, *, is_under_way: bool
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
    together: Together[str, int], source: Source
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


async def test_first_that_is_cancelled_leaves_the_others_answered(together: Together[str, int], source: Source) -> None:
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
    together: Together[str, int], source: Source
) -> None:
    (first,) = await ask(together, "a")
    await source.next()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    (again,) = await ask(together, "a")
    (await source.next()).answer.set_result({"a": 1})
    assert await soon(again) == 1


@pytest.mark.parametrize("is_first_cancelled", [False, True])
async def test_when_all_others_are_cancelled_the_next_call_works(
    together: Together[str, int], source: Source, *, is_first_cancelled: bool
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


async def test_look_up_for_others_runs_in_the_context_of_nobody(together: Together[str, int], source: Source) -> None:
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

    together = Together(look_up)

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
