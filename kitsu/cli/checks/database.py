"""Checks of the database: its address, its schema, its server, and its daily purge and backup."""

from datetime import timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.checks.registry import Problem, Tag, check
from kitsu.db import migrations
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import BackupError, postgres
from kitsu.settings import Settings

OLDEST_VERSION, NEWEST_VERSION = 15, 18
PURGE_MAX_AGE = timedelta(days=7)

_SERVER_SETTINGS = text("SELECT name, setting FROM pg_settings WHERE name IN :names").bindparams(
    bindparam("names", expanding=True)
)


@check("kitsu.E101", Tag.DATABASE)
async def connection(engine: AsyncEngine) -> list[Problem]:
    """Connect. The command reports the error of this or of a later database check under this id."""
    async with engine.connect():
        return []


@check("kitsu.E102", Tag.DATABASE, requires=connection)
async def schema(engine: AsyncEngine) -> list[Problem]:
    """Report a schema of another version. Checks that read tables require this one."""
    try:
        problem = migrations.explain(await migrations.current(engine))
    except migrations.SchemaError as error:
        problem = str(error)
    return [Problem.from_error(problem)] if problem else []


@check("kitsu.W103", Tag.DATABASE, deploy=True, requires=connection)
async def server_version(engine: AsyncEngine) -> list[Problem]:
    """Report a version of PostgreSQL that Kitsu is not tested with."""
    version = int((await _server_settings(engine, "server_version_num"))["server_version_num"]) // 10_000
    problem = Problem(
        f"The version of PostgreSQL is {version}.",
        f"Use a version from {OLDEST_VERSION} to {NEWEST_VERSION}, which Kitsu is tested with.",
    )
    return [problem] if not OLDEST_VERSION <= version <= NEWEST_VERSION else []


@check("kitsu.E104", Tag.DATABASE, deploy=True, requires=connection)
async def encoding(engine: AsyncEngine) -> list[Problem]:
    """Report an encoding that can't store every title."""
    found = (await _server_settings(engine, "server_encoding"))["server_encoding"]
    problem = Problem(f"The encoding of the database is {found}.", "Create the database with ENCODING 'UTF8'.")
    return [problem] if found != "UTF8" else []


@check("kitsu.E105", Tag.DATABASE, deploy=True, requires=connection)
async def connection_limit(engine: AsyncEngine, settings: Settings) -> list[Problem]:
    """Report workers that may open more connections than PostgreSQL accepts."""
    reserved = ("superuser_reserved_connections", "reserved_connections")
    server = await _server_settings(engine, "max_connections", *reserved)
    accepted = int(server["max_connections"]) - sum(int(server.get(name, "0")) for name in reserved)
    # Each worker listens on one more connection for changes of the catalogue.
    wanted = settings.workers * (settings.db_pool_size + settings.db_max_overflow + 1)
    problem = Problem(
        f"{settings.workers} workers may open {wanted} connections, and PostgreSQL accepts {accepted}.",
        "Raise max_connections of PostgreSQL, or lower WORKERS, DB_POOL_SIZE or DB_MAX_OVERFLOW.",
    )
    return [problem] if wanted > accepted else []


@check("kitsu.E106", Tag.DATABASE, deploy=True, requires=connection)
async def durability(engine: AsyncEngine) -> list[Problem]:
    """Report a server that may lose committed transactions."""
    names = ("fsync", "full_page_writes", "synchronous_commit")
    server = await _server_settings(engine, *names)
    return [
        Problem(f"{name} of PostgreSQL is off: committed data can be lost.", f"Set {name} = on in PostgreSQL.")
        for name in names
        if server[name] == "off"
    ]


@check("kitsu.W110", Tag.DATABASE, deploy=True, requires=schema)
async def last_purge(engine: AsyncEngine) -> list[Problem]:
    """Report that `kitsu purge` does not run."""
    age = (await command_runs.ages(engine)).get(command_runs.PURGE)
    return _too_old("purge", age, PURGE_MAX_AGE, "Run it once a day.")


@check("kitsu.E201", Tag.BACKUP, deploy=True, requires=connection)
async def pg_dump(engine: AsyncEngine, settings: Settings) -> list[Problem]:
    """Report a pg_dump that is missing or older than the server."""
    if not settings.backup_max_age_hours:  # the database is backed up in another way
        return []
    try:
        async with engine.connect() as open_connection:
            await postgres.find("pg_dump", await postgres.server_version(open_connection))
    except BackupError as error:
        message, hint = Problem.from_error(error)
        return [Problem(f"`kitsu backup` can't run: {message}", hint)]
    return []


@check("kitsu.E202", Tag.BACKUP, deploy=True, requires=schema)
async def last_backup(engine: AsyncEngine, settings: Settings) -> list[Problem]:
    """Report that `kitsu backup` does not run."""
    if not settings.backup_max_age_hours:
        return []
    age = (await command_runs.ages(engine)).get(command_runs.BACKUP)
    hint = "Run it once a day, or set BACKUP_MAX_AGE_HOURS=0 if you back up in another way."
    return _too_old("backup", age, timedelta(hours=settings.backup_max_age_hours), hint)


def _too_old(command: str, age: timedelta | None, max_age: timedelta, hint: str) -> list[Problem]:
    """Report a daily command that last finished too long ago, or never did."""
    if age is None:
        return [Problem(f"`kitsu {command}` has never finished.", hint)]
    words = f"{age.days} days" if age.days > 1 else f"{age // timedelta(hours=1)} hours"
    return [Problem(f"`kitsu {command}` last finished {words} ago.", hint)] if age > max_age else []


async def _server_settings(engine: AsyncEngine, *names: str) -> dict[str, str]:
    """Return these settings of the server, but those that it does not have."""
    async with engine.connect() as open_connection:
        rows = await open_connection.execute(_SERVER_SETTINGS, {"names": names})
        return dict(map(tuple, rows))
