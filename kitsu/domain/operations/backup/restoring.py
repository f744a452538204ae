"""Restoring a backup, into an empty database and an empty media store: all of it or nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db import migrations
from kitsu.domain.operations.backup import postgres, schema
from kitsu.domain.operations.backup.archive import Archive, BackupError, opened
from kitsu.domain.operations.backup.files import MediaFiles

# "restore" as a number: one at a time for each database.
_LOCK = 0x726573746F7265


class Restored(msgspec.Struct):
    """What was restored."""

    revision: str
    files: int
    size: int
    """Bytes, of the whole backup."""
    taken_at: str
    lost: int
    """Users who have no avatar any more, since the backup has no file for it."""


async def restore(engine: AsyncEngine, media: MediaFiles, path: Path) -> Restored:
    """Restore the backup at this path. Raises BackupError, and then nothing was changed."""
    with opened(path) as archive:
        about = archive.about
        if not migrations.is_known(about.revision):
            raise BackupError(
                f"{path} has the schema {about.revision}, which this version of Kitsu does not know; it has "
                f"{migrations.head()}. Restore it with the version that made it, {about.kitsu}, or a newer one."
            )
        async with _empty(engine) as server:
            if await media.keys():
                raise BackupError("The media store has files already: restore into an empty one, by MEDIA_URL.")
            program = await postgres.find("pg_restore", server, about.pg_dump)
            await postgres.check(program, archive.dump())
            await _fill(engine, media, archive, program)
        async with engine.begin() as connection:
            lost = await schema.forget_files(connection, archive.keys)
        return Restored(about.revision, len(archive.keys), archive.size, about.taken_at, lost)


@asynccontextmanager
async def _empty(engine: AsyncEngine) -> AsyncIterator[str]:
    """Keep other restores off an empty database; the server's version. Raises BackupError when it is not empty."""
    async with engine.connect() as plain:
        # No transaction is open then, which a server's timeout might end.
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            raise BackupError("Another restore into this database is under way.")
        try:
            if found := await schema.relations(connection):
                raise BackupError(
                    f"The database {engine.url.database!r} is not empty, it has {len(found)} tables: "
                    "restore into an empty one."
                )
            yield await postgres.server_version(connection)
        finally:
            await connection.invalidate()


async def _fill(engine: AsyncEngine, media: MediaFiles, archive: Archive, program: postgres.Program) -> None:
    """First the files, so that all is done when the database's transaction ends."""
    start_stream: list[str] = []
    try:
        await media.fill(archive.keys, archive.media, start_stream)
        await postgres.load(program, engine.url, archive.dump())
    except BaseException as error:
        if await _is_filled(engine):  # the end of the transaction came through, and only the word of it did not
            raise
        left = await media.remove(start_stream)
        if left and isinstance(error, BackupError):
            raise BackupError(f"{error} The media store kept {left} files that had been put: empty it.") from error
        raise


async def _is_filled(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            return "alembic_version" in await schema.relations(connection)
    except Exception:  # noqa: BLE001 - whatever it is, there is another error to tell of
        return False
