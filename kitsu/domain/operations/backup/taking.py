"""Taking a backup, while the service runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kitsu import __version__
from kitsu.db import migrations
from kitsu.db.errors import is_unavailable, sqlstate
from kitsu.db.models import CommandRun, StrayFile, User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import postgres
from kitsu.domain.operations.backup.archive import ABOUT, DUMP, MEDIA, About, BackupError, writing
from kitsu.domain.operations.backup.files import MediaFiles


class Taken(msgspec.Struct):
    """What a backup holds."""

    revision: str
    files: int = 0
    size: int = 0
    """Bytes, of all."""
    lost: int = 0
    """Avatars that users have whose files were not there."""
    is_noted: bool = True
    """Whether the database knows of the backup."""


async def take(engine: AsyncEngine, media: MediaFiles, path: Path) -> Taken:
    """Write a backup to this path. Raises BackupError, or SchemaError for a database with an unknown schema."""
    if media.holds(path):
        raise BackupError(f"{path} lies in the media store, which the backup is of: name a file elsewhere.")
    revision = await migrations.current(engine)
    if revision not in migrations.revisions():
        raise migrations.SchemaError(migrations.explain(revision) or "")
    taken = Taken(revision)
    with writing(path) as archive:
        listed = await media.keys()
        async with _snapshot(engine) as (connection, snapshot):
            if await connection.scalar(text("SELECT version_num FROM alembic_version")) != revision:
                raise BackupError("The database is being migrated: take the backup when that is done.")
            server = await postgres.server_version(connection)
            program = await postgres.find("pg_dump", server)
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            archive.add(ABOUT, msgspec.json.encode(About(__version__, revision, server, program.version, now)))
            used, noted = await _named(connection)
            with archive.member(DUMP) as write:
                await postgres.dump(program, engine.url, snapshot, write)
        async for key, data in media.read_all(sorted({*listed, *used, *noted})):
            if data is not None:
                archive.add(MEDIA + key, data)
                taken.files += 1
            elif key in used:
                taken.lost += 1
    taken.size = archive.size
    taken.is_noted = await _noted(engine)
    return taken


async def _named(connection: AsyncConnection) -> tuple[set[str], set[str]]:
    """Return the keys of the files that users have, and of those that are noted as stray."""
    avatars = await connection.scalars(select(User.avatar).where(User.avatar.is_not(None)))
    used = {key_of(path) for path in avatars if path}
    if StrayFile.__tablename__ not in await postgres.relations(connection):  # a database of the FastAPI service
        return used, set()
    return used, {key_of(path) for path in await connection.scalars(select(StrayFile.path))}


async def _noted(engine: AsyncEngine) -> bool:
    """Note the finished backup in the database. Return False, and keep the backup, if the database is away."""
    try:
        async with engine.connect() as connection:
            if CommandRun.__tablename__ not in await postgres.relations(connection):  # of an older schema
                return True
        await command_runs.note(engine, command_runs.BACKUP)
    except Exception as error:
        if not is_unavailable(error) and sqlstate(error) is None:
            raise
        return False
    return True


@asynccontextmanager
async def _snapshot(engine: AsyncEngine) -> AsyncIterator[tuple[AsyncConnection, str]]:
    """Yield a transaction with a snapshot of the database, and the snapshot's name for other connections."""
    async with engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # The transaction waits for pg_dump.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection, str(await connection.scalar(text("SELECT pg_export_snapshot()")))
