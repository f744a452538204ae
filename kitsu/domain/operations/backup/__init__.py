"""Back up the database and the media store to one file (archive.py), and restore them.

A backup under load is complete, because a file is put before a user refers to it, and noted in `stray_files` before it
is put. The backup lists the store, then takes a snapshot of the database, then reads the files in the list, those of
the snapshot's users, and those noted in it. Later files are left out: no row of the snapshot names them, so that after
a restore `kitsu purge` would never delete them. A file may be deleted before it is read, if its user changes the
avatar meanwhile; the restore removes the avatar of such a user.
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu import __version__
from kitsu.db import migrations
from kitsu.db.errors import UNDEFINED_TABLE, is_unavailable, sqlstate
from kitsu.db.models import StrayFile, User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import postgres
from kitsu.domain.operations.backup.archive import ABOUT, DUMP, MEDIA, About, Archive, BackupError, opened, writing
from kitsu.domain.operations.backup.files import MediaFiles

# "restore" as a number. The lock allows one restore at a time for each database.
_LOCK = 0x726573746F7265
_AVATARS = select(User.avatar).where(User.avatar.is_not(None))
_REMOVE_AVATARS = text("UPDATE users SET avatar = NULL WHERE avatar = ANY(:paths)")


class BackupSummary(msgspec.Struct):
    revision: str
    taken_at: str = ""
    files: int = 0
    size: int = 0  # bytes of the whole backup
    lost: int = 0  # users whose avatar has no file in the backup
    is_noted: bool = True  # whether the database knows of the backup


async def take(engine: AsyncEngine, media: MediaFiles, path: Path) -> BackupSummary:
    """Write a backup to this path, while the service may run. Raises BackupError, SchemaError."""
    if media.holds(path):
        raise BackupError(f"{path} lies in the media store, which the backup is of: name a file elsewhere.")
    revision = await migrations.current(engine) or ""
    if revision not in migrations.revisions():
        await migrations.check_schema(engine)
    summary = BackupSummary(revision)
    with writing(path) as archive:
        listed = await media.keys()
        snapshots = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with snapshots.connect() as connection:
            # The transaction is idle while pg_dump runs.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            snapshot = str(await connection.scalar(text("SELECT pg_export_snapshot()")))
            summary.taken_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            if await connection.scalar(text("SELECT version_num FROM alembic_version")) != revision:
                raise BackupError("The database is being migrated: take the backup when that is done.")
            server = await postgres.server_version(connection)
            program = await postgres.find("pg_dump", server)
            about = About(__version__, revision, server, program.version, summary.taken_at)
            archive.add(ABOUT, msgspec.json.encode(about))
            used = {key_of(path) for path in await connection.scalars(_AVATARS) if path}
            noted: set[str] = set()
            if StrayFile.__tablename__ in await postgres.relations(connection):  # a database older than Kitsu lacks it
                noted = {key_of(path) for path in await connection.scalars(select(StrayFile.path))}
            with archive.member(DUMP) as write:
                await postgres.dump(program, engine.url, snapshot, write)
        async for key, data in media.read_all(sorted({*listed, *used, *noted})):
            if data is not None:
                archive.add(MEDIA + key, data)
                summary.files += 1
            elif key in used:
                summary.lost += 1
    summary.size = archive.size
    summary.is_noted = await _note(engine)
    return summary


async def _note(engine: AsyncEngine) -> bool:
    """Note the backup in the database. Return False if the database can't store the note."""
    try:
        await command_runs.note(engine, command_runs.BACKUP)
    except Exception as error:
        if not is_unavailable(error) and sqlstate(error) is None:
            raise
        return sqlstate(error) == UNDEFINED_TABLE  # an older schema
    return True


async def restore(engine: AsyncEngine, media: MediaFiles, path: Path) -> BackupSummary:
    """Restore the backup at this path. Raises BackupError, and then nothing was changed."""
    with opened(path) as archive:
        about = archive.about
        if about.revision not in migrations.revisions():
            # While instances are upgraded, an old one may back up the newer schema.
            maker = "" if about.kitsu == __version__ else f"the version that made it, {about.kitsu}, or "
            raise BackupError(
                f"{path} has the schema {about.revision}, which this version of Kitsu does not know; it has "
                f"{migrations.head()}. Restore it with {maker}a newer one."
            )
        # No transaction, which a timeout of the server might end.
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            if not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
                raise BackupError("Another restore into this database is in progress.")
            try:
                if found := await postgres.relations(connection):
                    raise BackupError(
                        f"The database {engine.url.database!r} is not empty, it has {len(found)} tables: "
                        "restore into an empty one."
                    )
                if await media.keys():
                    raise BackupError("The media store has files already: restore into an empty one, by MEDIA_URL.")
                server = await postgres.server_version(connection)
                program = await postgres.find("pg_restore", server, about.pg_dump)
                await postgres.check(program, archive.dump())
                await _fill(engine, media, archive, program)
            finally:
                await connection.invalidate()  # also releases the lock
        restored = set(archive.keys)
        async with engine.begin() as connection:
            paths = [path for path in await connection.scalars(_AVATARS) if path and key_of(path) not in restored]
            lost = (await connection.execute(_REMOVE_AVATARS, {"paths": paths})).rowcount
        return BackupSummary(about.revision, about.taken_at, len(archive.keys), archive.size, lost)


async def _fill(engine: AsyncEngine, media: MediaFiles, archive: Archive, program: postgres.Program) -> None:
    """Put the files, then load the database in one transaction, whose commit completes the restore."""
    put: list[str] = []
    try:
        await media.fill(archive.keys, archive.media, put)
        await postgres.load(program, engine.url, archive.dump())
    except BaseException as error:
        if await _is_filled(engine):  # the commit succeeded, and its response was lost
            raise
        left = await media.remove(put)
        if left and isinstance(error, BackupError):
            raise BackupError(f"{error} {left} files are left in the media store: empty it.") from error
        raise


async def _is_filled(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            return "alembic_version" in await postgres.relations(connection)
    except Exception:  # noqa: BLE001 - the caller raises its own error
        return False
