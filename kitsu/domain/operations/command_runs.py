"""When the daily commands last finished, for `kitsu check --deploy` and /metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
from sqlalchemy import Interval, func, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import CommandRun
from kitsu.db.statements import StatementRunner

BACKUP = "backup"
PURGE = "purge"
IMPORT = "import-catalogue"

READ_SECONDS = 60

_ENDED = select(CommandRun.command, CommandRun.ended_at)
_AGES = select(CommandRun.command, type_coerce(func.now() - CommandRun.ended_at, Interval()))


async def note(engine: AsyncEngine, command: str) -> None:
    """Store that this command has finished now."""
    row = insert(CommandRun).values(command=command, ended_at=func.now())
    async with engine.begin() as connection:
        await connection.execute(
            row.on_conflict_do_update(index_elements=[CommandRun.command], set_={"ended_at": func.now()})
        )


async def ages(engine: AsyncEngine) -> dict[str, timedelta]:
    """Return the time since each command last finished, if it ever did."""
    async with engine.connect() as connection:
        return {row[0]: row[1] for row in await connection.execute(_AGES)}


class LastRuns:
    """The last runs, as a worker reads them from the database."""

    def __init__(self, runner: StatementRunner) -> None:
        self.timestamps = dict.fromkeys((BACKUP, PURGE, IMPORT), 0.0)
        """Command to the time it last finished, in seconds since 1970; 0: never."""
        self._runner = runner

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Read them once a minute until the end."""
        task = asyncio.create_task(self._read_always())
        yield
        task.cancel()

    async def _read_always(self) -> None:
        while True:
            # Others report a database that is away; this reads again in a minute.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                self.timestamps |= {row[0]: row[1].timestamp() for row in await self._runner.rows(_ENDED)}
            await asyncio.sleep(READ_SECONDS)
