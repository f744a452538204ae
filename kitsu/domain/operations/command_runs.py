"""When the commands of every day last did their work, which `kitsu check --deploy` and /metrics tell."""

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
    """Keep that this command has done its work just now."""
    row = insert(CommandRun).values(command=command, ended_at=func.now())
    async with engine.begin() as connection:
        await connection.execute(
            row.on_conflict_do_update(index_elements=[CommandRun.command], set_={"ended_at": func.now()})
        )


async def ages(engine: AsyncEngine) -> dict[str, timedelta]:
    """How long ago each command did its work that ever has."""
    async with engine.connect() as connection:
        return {row[0]: row[1] for row in await connection.execute(_AGES)}


class LastRuns:
    """What a service knows of them."""

    def __init__(self, runner: StatementRunner) -> None:
        self.timestamps = dict.fromkeys((BACKUP, PURGE, IMPORT), 0.0)
        """Command to when it last did its work, in seconds since 1970; 0: never."""
        self._runner = runner

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Read them once a minute until the end."""
        task = asyncio.create_task(self._read_always())
        yield
        task.cancel()

    async def _read_always(self) -> None:
        while True:
            # A database that is away is told of by others; the next minute may know more.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                self.timestamps |= {row[0]: row[1].timestamp() for row in await self._runner.rows(_ENDED)}
            await asyncio.sleep(READ_SECONDS)
