"""When the daily commands last finished, for `kitsu check --deploy` and /metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
from sqlalchemy import Interval, bindparam, func, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import CommandRun
from kitsu.db.statements import StatementRunner

BACKUP = "backup"
PURGE = "purge"
IMPORT = "import-catalogue"

READ_INTERVAL_SECONDS = 60

_NOTE = (
    insert(CommandRun)
    .values(command=bindparam("command"), ended_at=func.now())
    .on_conflict_do_update(index_elements=[CommandRun.command], set_={"ended_at": func.now()})
)
_ENDED = select(CommandRun.command, CommandRun.ended_at)
_AGES = select(CommandRun.command, type_coerce(func.now() - CommandRun.ended_at, Interval()).label("age"))


async def note(engine: AsyncEngine, command: str) -> None:
    """Store that this command has finished now."""
    async with engine.begin() as connection:
        await connection.execute(_NOTE, {"command": command})


async def ages(engine: AsyncEngine) -> dict[str, timedelta]:
    """Return the time since each command last finished, if it ever did."""
    async with engine.connect() as connection:
        return {row.command: row.age for row in await connection.execute(_AGES)}


class LastRuns:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner
        self.timestamps = dict.fromkeys((BACKUP, PURGE, IMPORT), 0.0)
        """Command to the time it last finished, in seconds since 1970; 0 if it never did."""

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Read them once a minute until the context ends."""
        task = asyncio.create_task(self._read_always())
        yield
        task.cancel()

    async def _read_always(self) -> None:
        while True:
            # Errors of the database are reported elsewhere, and the next read may succeed.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                rows = await self._runner.rows(_ENDED)
                self.timestamps |= {row["command"]: row["ended_at"].timestamp() for row in rows}
            await asyncio.sleep(READ_INTERVAL_SECONDS)
