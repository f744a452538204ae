"""The progress of a job, which is stored regularly while the job runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError

PROGRESS_SECONDS = 1.0


@asynccontextmanager
async def stored_progress(store: Callable[[int], Awaitable[None]]) -> AsyncIterator[Callable[[int], None]]:
    """Yield a function that notes how far the job is. `store` gets the last number every second."""
    last = 0

    def note(number: int) -> None:
        nonlocal last
        last = number

    async def store_regularly() -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            with suppress(SQLAlchemyError, OSError):  # the job meets the same error
                await store(last)

    task = asyncio.create_task(store_regularly())
    try:
        yield note
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
