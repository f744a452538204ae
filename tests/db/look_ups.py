"""What the tests of batch loading share: a source whose look-ups the test completes, and calls of the loader."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

import pytest

from kitsu.db.batch_loader import BatchLoader
from tests.db.waiting import run_other_tasks, soon

context_name: ContextVar[str] = ContextVar("context_name", default="empty")


class LookUp(NamedTuple):
    """A look-up that waits for its response."""

    keys: list[str]
    response: asyncio.Future[Mapping[str, int]]
    context: str


class Source:
    """Looks up keys; the test sets the responses."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[LookUp] = asyncio.Queue()

    async def look_up(self, keys: list[str]) -> Mapping[str, int]:
        """Return the response that the test sets."""
        response: asyncio.Future[Mapping[str, int]] = asyncio.get_running_loop().create_future()
        self._begun.put_nowait(LookUp(keys, response, context_name.get()))
        return await response

    async def next(self) -> LookUp:
        """Wait until the next look-up begins, and return it."""
        return await soon(self._begun.get())

    async def is_quiet(self) -> bool:
        """Return whether no other look-up begins."""
        await run_other_tasks()
        return self._begun.empty()


@pytest.fixture
async def source() -> Source:
    """A source without look-ups."""
    return Source()


@pytest.fixture
async def loader(source: Source) -> BatchLoader[str, int]:
    """A loader on that source."""
    return BatchLoader(source.look_up)


async def request(loader: BatchLoader[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    """Get each key in a task of its own, and return the tasks after all of them have begun."""
    tasks = [asyncio.create_task(loader.get(key)) for key in keys]
    await run_other_tasks()
    return tasks


async def results(*tasks: asyncio.Task[int | None]) -> list[int | None]:
    """Return the result of each task."""
    return list(await soon(asyncio.gather(*tasks)))
