"""How the tests of the database wait: for an answer, for what only the server knows, for the turns of others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """What it says; an error instead of a test that never ends."""
    return await asyncio.wait_for(awaitable, 20)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what only the server knows the time of."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def turns() -> None:
    """Let all others go on as far as they get without the database."""
    for _ in range(10):
        await asyncio.sleep(0)
