"""What the workers run daily: each time once, whatever their number, and once after times at which none ran."""

from datetime import UTC, datetime, time, timedelta
from typing import ClassVar

from sqlalchemy import DateTime, String, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import Schedule
from kitsu.domain.jobs import Job, enqueue


class RunPurge(Job, frozen=True):
    """Deletes what is no longer needed."""

    name: ClassVar[str] = "purge"


class RunBackup(Job, frozen=True):
    """Writes a backup into the folder of backups."""

    name: ClassVar[str] = "backup"
    due_at: datetime


_name, _due_at = bindparam("job", type_=String), bindparam("due", type_=DateTime(timezone=True))
_NOW = select(func.now())
_TAKE = (
    update(Schedule)
    .where(Schedule.name == _name, Schedule.due_at < _due_at)
    .values(due_at=_due_at)
    .returning(Schedule.name)
)
_BEGIN = insert(Schedule).values(name=_name, due_at=_due_at).on_conflict_do_nothing()


def latest(at: time, now: datetime) -> datetime:
    """Return the last time before `now` at which the clock in UTC showed this time of day."""
    today = datetime.combine(now.astimezone(UTC), at, UTC)
    return today if today <= now else today - timedelta(days=1)


async def enqueue_due(engine: AsyncEngine, purge_at: time | None, backup_at: time | None) -> None:
    """Enqueue the daily jobs whose time has come since the last one. None: never.

    A job that is new here runs for the first time at its next time of day.
    """
    async with AsyncSession(engine) as session:
        now: datetime = (await execute_core(session, _NOW)).scalar_one()
        if purge_at is not None and await _is_due(session, RunPurge, latest(purge_at, now)):
            await enqueue(session, RunPurge())
        if backup_at is not None and await _is_due(session, RunBackup, due_at := latest(backup_at, now)):
            await enqueue(session, RunBackup(due_at))
        await session.commit()


async def _is_due(session: AsyncSession, job: type[Job], due_at: datetime) -> bool:
    """Return whether a job was not enqueued for this time yet, and note that it is."""
    parameters = {"job": job.name, "due": due_at}
    if (await execute_core(session, _TAKE, parameters)).one_or_none() is not None:
        return True
    await execute_core(session, _BEGIN, parameters)
    return False
