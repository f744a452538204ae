"""A worker in the process of the tests, and a wait for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from sqlalchemy.engine import URL

from kitsu.jobs import worker
from kitsu.settings import Settings
from tests.databases import column

UNFINISHED = "SELECT entrypoint FROM pgqueuer WHERE status <> 'failed'"


@asynccontextmanager
async def working(database: URL, **settings: Any) -> AsyncIterator[asyncio.Event]:
    """Run a worker in this process until the context ends, or the event is set."""
    stop = asyncio.Event()
    values = {"secret_key": "k" * 32, **settings}
    with patch.object(worker, "POLL_INTERVAL", timedelta(seconds=0.1)):  # each retry waits for it
        task = asyncio.create_task(worker.work(database, Settings(**values), stop))
        try:
            yield stop
        finally:
            stop.set()
            await task


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process changes the database
            await asyncio.sleep(0.05)


async def finished(database: URL) -> None:
    """Wait until no job waits or runs."""

    async def is_finished() -> bool:
        return not await column(database, UNFINISHED)

    await until(is_finished)
