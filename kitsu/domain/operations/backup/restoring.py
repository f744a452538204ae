"""Restoring a backup, into an empty database and an empty media store: all of it or nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kitsu.db import migrations
from kitsu.db.models import User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.operations.backup import postgres
from kitsu.domain.operations.backup.archive import Archive, BackupError, opened
from kitsu.domain.operations.backup.files import MediaFiles

# "restore" as a number: one at a time for each database.
_LOCK = 0x726573746F7265
_FORGET = text("UPDATE users SET avatar = NULL WHERE avatar = ANY(:lost)")


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
        if about.revision not in migrations.revisions():
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
            lost = await _forget_files(connection, archive.keys)
        return Restored(about.revision, len(archive.keys), archive.size, about.taken_at, lost)


@asynccontextmanager
async def _empty(engine: AsyncEngine) -> AsyncIterator[str]:
    """Lock an empty database against other restores and yield the server's version. Raises BackupError."""
    async with engine.connect() as plain:
        # Without a transaction, which a timeout of the server might end.
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            raise BackupError("Another restore into this database is under way.")
        try:
            if found := await postgres.relations(connection):
                raise BackupError(
                    f"The database {engine.url.database!r} is not empty, it has {len(found)} tables: "
                    "restore into an empty one."
                )
            yield await postgres.server_version(connection)
        finally:
            await connection.invalidate()


async def _fill(engine: AsyncEngine, media: MediaFiles, archive: Archive, program: postgres.Program) -> None:
    """Put the files first, so that all is done when the database's transaction ends."""
    put: list[str] = []
    try:
        await media.fill(archive.keys, archive.media, put)
        await postgres.load(program, engine.url, archive.dump())
    except BaseException as error:
        if await _is_filled(engine):  # it was committed, and only the response was lost
            raise
        left = await media.remove(put)
        if left and isinstance(error, BackupError):
            raise BackupError(f"{error} The media store kept {left} files that had been put: empty it.") from error
        raise


async def _forget_files(connection: AsyncConnection, keys: list[str]) -> int:
    """Remove the avatars without a file among the keys. Return the number of such users."""
    kept = set(keys)
    avatars = await connection.scalars(select(User.avatar).where(User.avatar.is_not(None)))
    lost = [path for path in avatars if path and key_of(path) not in kept]
    return (await connection.execute(_FORGET, {"lost": lost})).rowcount


async def _is_filled(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            return "alembic_version" in await postgres.relations(connection)
    except Exception:  # noqa: BLE001 - the caller reports its own error
        return False
