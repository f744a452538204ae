"""Checks of `kitsu backup`. BACKUP_MAX_AGE_HOURS=0 turns them off, for a database that is backed up in another way."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.checks import database
from kitsu.cli.checks.registry import Problem, Tag, check
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import BackupError, postgres
from kitsu.domain.operations.backup.schema import server_version
from kitsu.settings import Settings


@check("kitsu.E201", Tag.BACKUP, deploy=True, requires=database.connection)
async def pg_dump(engine: AsyncEngine, settings: Settings) -> list[Problem]:
    """Report a pg_dump that is missing or older than the server."""
    if not settings.backup_max_age_hours:
        return []
    try:
        async with engine.connect() as connection:
            await postgres.find("pg_dump", await server_version(connection))
    except BackupError as error:
        message, hint = Problem.from_error(error)
        return [Problem(f"`kitsu backup` can't run: {message}", hint)]
    return []


@check("kitsu.E202", Tag.BACKUP, deploy=True, requires=database.schema)
async def last_backup(engine: AsyncEngine, settings: Settings) -> list[Problem]:
    """Report that `kitsu backup` does not run."""
    if not settings.backup_max_age_hours:
        return []
    age = (await command_runs.ages(engine)).get(command_runs.BACKUP)
    hint = "Run it once a day, or set BACKUP_MAX_AGE_HOURS=0 if you back up in another way."
    return database.too_old("backup", age, timedelta(hours=settings.backup_max_age_hours), hint)
