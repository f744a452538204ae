"""What the tests of questions asked together share: a source whose look-ups the test answers, and who asks it."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.waiting import soon, turns

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
async def together(source: Source) -> BatchLoader[str, int]:
    """What asks that source."""
    return BatchLoader(source.look_up)


async def ask(together: BatchLoader[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    """Ask for each key in a task of its own, and return when all have asked."""
    tasks = [asyncio.create_task(together.get(key)) for key in keys]
    await turns()
    return tasks


async def answers(*tasks: asyncio.Task[int | None]) -> list[int | None]:
    """What each is told, in the order of the tasks."""
    return list(await soon(asyncio.gather(*tasks)))
