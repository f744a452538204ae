"""Checks of the database: its address, its schema, its server, its workers, and its daily purge and backup."""

import os
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.checks.registry import Tag, check
from kitsu.cli.database import EXPECTED, explanation
from kitsu.db import migrations
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.listener import NOTIFY, NothingHeardError, listen
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import postgres
from kitsu.domain.operations.backup.archive import BackupError
from kitsu.domain.operations.clock import clock_difference, is_too_large
from kitsu.settings import Settings

OLDEST_VERSION, NEWEST_VERSION = 15, 18
PURGE_MAX_AGE = timedelta(days=7)
WORKER_MAX_AGE = timedelta(minutes=5)

_SKIPPED_HINT = "The other database checks were skipped; run `kitsu check` again when this is fixed."
_VERSION_HINT = f"Use a version from {OLDEST_VERSION} to {NEWEST_VERSION}, which Kitsu is tested with."
_LIMIT_HINT = "Raise max_connections of PostgreSQL, or lower WORKERS, DB_POOL_SIZE or DB_MAX_OVERFLOW."
_QUEUE_HINT = "Install the locked versions of the dependencies, or restore the tables from a backup."
_PURGE_HINT = "Set PURGE_AT and start `kitsu worker`, or run it once a day."
_CLOCK_HINT = "Run a time service on both, such as chrony or systemd-timesyncd."
_CLUSTER = text("SELECT system_identifier FROM pg_control_system()")
_POOLER_HINT = "Set DATABASE_URL to the pooler, DB_POOLER to its mode, and DATABASE_DIRECT_URL to PostgreSQL itself."
_BACKUP_HINT = "Set BACKUP_AT, or run it once a day, or set BACKUP_MAX_AGE_HOURS=0 if you back up in another way."


@check("kitsu.E101", Tag.DATABASE, hint=_SKIPPED_HINT)
async def connection(engine: AsyncEngine) -> list[str]:
    """Connect. The command reports the error of this or of a later database check under this id."""
    async with engine.connect():
        return []


@check("kitsu.E102", Tag.DATABASE, requires=connection)
async def schema(engine: AsyncEngine) -> list[str]:
    """Compare the schema's revision. Checks that read tables require this one."""
    try:
        await migrations.check_schema(engine)
    except migrations.SchemaError as error:
        return [str(error)]
    return []


@check("kitsu.W103", Tag.DATABASE, deploy=True, requires=connection, hint=_VERSION_HINT)
async def server_version(engine: AsyncEngine) -> list[str]:
    version = int((await _server_settings(engine))["server_version_num"]) // 10_000
    return [] if OLDEST_VERSION <= version <= NEWEST_VERSION else [f"The version of PostgreSQL is {version}."]


@check("kitsu.E104", Tag.DATABASE, deploy=True, requires=connection, hint="Create it again with ENCODING 'UTF8'.")
async def encoding(engine: AsyncEngine) -> list[str]:
    name = (await _server_settings(engine))["server_encoding"]
    return [] if name == "UTF8" else [f"The database has the encoding {name}, which can't store every title."]


@check("kitsu.E105", Tag.DATABASE, deploy=True, requires=connection, hint=_LIMIT_HINT)
async def connection_limit(engine: AsyncEngine, settings: Settings) -> list[str]:
    server = await _server_settings(engine)
    reserved = int(server["superuser_reserved_connections"]) + int(server.get("reserved_connections", "0"))
    accepted = int(server["max_connections"]) - reserved
    # Each worker listens on one more connection for changes of the catalogue. A pooler limits the others.
    served = 0 if settings.is_pooled else settings.db_pool_size + settings.db_max_overflow
    wanted = settings.workers * (served + 1)
    message = f"{settings.workers} workers may open {wanted} connections, and PostgreSQL accepts {accepted}."
    return [message] if wanted > accepted else []


@check("kitsu.E106", Tag.DATABASE, deploy=True, requires=connection, hint="Set it to on in PostgreSQL.")
async def durability(engine: AsyncEngine) -> list[str]:
    server = await _server_settings(engine)
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if server[name] == "off"]
    return [f"{name} of PostgreSQL is off: committed data can be lost." for name in off]


@check("kitsu.W110", Tag.DATABASE, deploy=True, requires=schema, hint=_PURGE_HINT)
async def last_purge(engine: AsyncEngine) -> list[str]:
    return await _late_runs(engine, command_runs.PURGE, PURGE_MAX_AGE)


@check("kitsu.E111", Tag.DATABASE, requires=schema, hint=_QUEUE_HINT)
async def queue_schema(engine: AsyncEngine) -> list[str]:
    # By name, as other commands and the web workers that they start do without pgqueuer.
    differences = await resolve_name("kitsu.jobs.schema:schema_differences")(engine)
    return ["The tables of the job queue do not fit the installed version of pgqueuer."] if differences else []


@check("kitsu.W112", Tag.DATABASE, deploy=True, requires=schema, hint="Start `kitsu worker` beside `kitsu serve`.")
async def last_worker(engine: AsyncEngine) -> list[str]:
    age = (await command_runs.ages(engine)).get(command_runs.WORKER)
    is_late = age is None or age > WORKER_MAX_AGE
    return ["No worker has run for 5 minutes: jobs wait, such as imports, mail and the daily purge."] if is_late else []


@check("kitsu.W113", Tag.DATABASE, deploy=True, requires=connection, hint=_CLOCK_HINT)
async def clock(engine: AsyncEngine) -> list[str]:
    difference = await clock_difference(engine)
    way = "ahead of" if difference > 0 else "behind"
    message = f"The clock of this machine is {abs(difference):.0f} s {way} the clock of PostgreSQL's machine."
    return [message] if is_too_large(difference) else []


@check("kitsu.E114", Tag.DATABASE, requires=connection, hint=_POOLER_HINT)
async def addresses(engine: AsyncEngine, settings: Settings) -> list[str]:
    """Send a notification to DATABASE_URL, and hear it at DATABASE_DIRECT_URL."""
    if settings.database_url is None or settings.database_direct_url is None:
        return []
    served = create_engine(settings.database_url, timeouts=Timeouts(), pooler=settings.is_pooled)

    async def notify(trial: str) -> None:
        async with served.begin() as transaction:
            await transaction.execute(NOTIFY, {"text": trial})

    try:
        async with engine.connect() as open_connection:
            raw = await open_connection.get_raw_connection()
            await listen(raw.driver_connection, lambda: None, notify)
    except NothingHeardError:
        return ["DATABASE_DIRECT_URL hears no notification of changes: it is the address of a pooler."]
    except EXPECTED as error:
        return [f"DATABASE_URL does not work. {explanation(error, settings.database_url)}"]
    finally:
        await served.dispose()
    return []


@check("kitsu.E115", Tag.DATABASE, requires=schema, hint="Name standbys of DATABASE_URL's server, or remove them.")
async def replicas(engine: AsyncEngine, settings: Settings) -> list[str]:
    found = []
    async with engine.connect() as open_connection:
        cluster = await open_connection.scalar(_CLUSTER)
    for number, url in enumerate(settings.database_replica_urls, 1):
        replica = create_engine(url, timeouts=Timeouts(), pooler=settings.is_pooled)
        try:
            async with replica.connect() as open_connection:
                if not await open_connection.scalar(text("SELECT pg_is_in_recovery()")):
                    found.append(f"Number {number} of DATABASE_REPLICA_URLS is no replica.")
                elif await open_connection.scalar(_CLUSTER) != cluster:
                    found.append(f"Number {number} of DATABASE_REPLICA_URLS is a replica of another server.")
        except EXPECTED as error:
            found.append(f"Number {number} of DATABASE_REPLICA_URLS does not work. {explanation(error, url)}")
        finally:
            await replica.dispose()
    return found


@check("kitsu.E201", Tag.BACKUP, deploy=True, requires=connection)
async def pg_dump(engine: AsyncEngine, settings: Settings) -> list[str]:
    if settings.backup_max_age_hours:  # else the database is backed up in another way
        try:
            async with engine.connect() as open_connection:
                await postgres.find("pg_dump", await postgres.server_version(open_connection))
        except BackupError as error:
            return [f"`kitsu backup` can't run: {error}"]
    return []


@check("kitsu.E202", Tag.BACKUP, deploy=True, requires=schema, hint=_BACKUP_HINT)
async def last_backup(engine: AsyncEngine, settings: Settings) -> list[str]:
    max_age = timedelta(hours=settings.backup_max_age_hours)
    return await _late_runs(engine, command_runs.BACKUP, max_age) if max_age else []


@check("kitsu.E203", Tag.BACKUP, deploy=True, hint="Create it, and let the user of `kitsu worker` write to it.")
def backup_folder(settings: Settings) -> list[str]:
    folder = settings.backup_folder
    if settings.backup_at is None or (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        return []
    return [f"BACKUP_FOLDER names {folder}, which is no folder that can be written to."]


async def _late_runs(engine: AsyncEngine, command: str, max_age: timedelta) -> list[str]:
    """Return a message if the command last finished too long ago, or never."""
    age = (await command_runs.ages(engine)).get(command)
    if age is None:
        return [f"`kitsu {command}` has never finished."]
    words = f"{age.days} days" if age.days > 1 else f"{age // timedelta(hours=1)} hours"
    return [f"`kitsu {command}` last finished {words} ago."] if age > max_age else []


async def _server_settings(engine: AsyncEngine) -> dict[str, str]:
    async with engine.connect() as open_connection:
        return dict(map(tuple, await open_connection.execute(text("SELECT name, setting FROM pg_settings"))))
