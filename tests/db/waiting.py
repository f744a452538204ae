"""How the tests of the database wait: for a result, for a state of the server, for other tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """Return the result, or fail instead of waiting for ever."""
    return await asyncio.wait_for(awaitable, 20)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a state of the server, which sends no event."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


async def run_other_tasks() -> None:
    """Let the other tasks run as far as they get without the database."""
    for _ in range(10):
        await asyncio.sleep(0)
