"""Reading of values for the metrics, again and again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg


@asynccontextmanager
async def polled(read: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Call `read` at this interval until the context ends."""

    async def read_always() -> None:
        while True:
            # Errors of the database are reported elsewhere, and the next read may succeed.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                await read()
            await asyncio.sleep(seconds)

    task = asyncio.create_task(read_always())
    yield
    task.cancel()
