"""When the daily commands last finished and a worker last ran, for `kitsu check --deploy` and /metrics."""

from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from sqlalchemy import Interval, bindparam, func, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import CommandRun
from kitsu.db.statements import StatementRunner
from kitsu.domain.operations.polling import polled

BACKUP = "backup"
PURGE = "purge"
IMPORT = "import-catalogue"
WORKER = "worker"
"""It never finishes: a worker notes every 30 s that it runs."""

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
        self.timestamps = dict.fromkeys((BACKUP, PURGE, IMPORT, WORKER), 0.0)
        """Command to the time it last finished, in seconds since 1970; 0 if it never did."""

    def followed(self) -> AbstractAsyncContextManager[None]:
        """Read them once a minute until the context ends."""
        return polled(self._read, READ_INTERVAL_SECONDS)

    async def _read(self) -> None:
        rows = await self._runner.rows(_ENDED)
        self.timestamps |= {row["command"]: row["ended_at"].timestamp() for row in rows}
