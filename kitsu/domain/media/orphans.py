"""Orphans: files of the media store that no user refers to.

A file's path is noted before the file is put. The transaction that makes a user refer to it deletes the note, so an
orphan always has a note, also after a crash. A transaction with a lock on the note may delete the file.
"""

import asyncio

import structlog
from sqlalchemy import String, bindparam, delete, exists, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import StrayFile, User
from kitsu.domain.media.store import MediaStore
from kitsu.errors import ServiceUnavailable

log = structlog.get_logger("kitsu.media")

AVATARS = "uploads/avatars/"  # prefix of `users.avatar`; the store has the file under another key
CLEANUP_TIMEOUT_SECONDS = 1.0  # of the clean-up within a request; `kitsu purge` does the rest
MAX_PURGE_FAILURES = 5

_path = bindparam("path", type_=String)
_NOTE = insert(StrayFile).values(path=_path).on_conflict_do_nothing()
_FORGET = delete(StrayFile).where(StrayFile.path == _path)
_HOLD = (
    select(exists().where(User.avatar == _path))
    .select_from(StrayFile)
    .where(StrayFile.path == _path)
    .with_for_update(of=StrayFile, skip_locked=True)
)
_OLD = (
    select(StrayFile.path)
    .where(StrayFile.since < func.now() - literal_column("interval '1 hour'"))
    .order_by(StrayFile.since, StrayFile.path)
)


class OrphanFiles:
    """Notes files, and deletes those that no user refers to."""

    def __init__(self, engine: AsyncEngine, media: MediaStore) -> None:
        self._engine = engine
        self._media = media

    async def announce(self, path: str) -> None:
        """Note a file that is about to be put."""
        async with self._engine.begin() as connection:
            await connection.execute(_NOTE, {"path": path})

    async def note(self, session: AsyncSession, path: str) -> None:
        """Note a file that loses its user, in the caller's transaction."""
        await execute_core(session, _NOTE, {"path": path})

    async def adopt(self, session: AsyncSession, path: str) -> None:
        """Delete the note of a file that gets its user. Raises ServiceUnavailable if the purge deleted the file."""
        if (await execute_core(session, _FORGET, {"path": path})).rowcount != 1:
            raise ServiceUnavailable

    async def tidy(self, path: str, *, keep_note: bool = False) -> None:
        """Sweep a file within CLEANUP_TIMEOUT_SECONDS. A failure is logged, and left to `kitsu purge`."""
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await self.sweep(path, keep_note=keep_note)
        except Exception as error:  # noqa: BLE001 - the note remains, and the caller has its own response
            log.warning("file deletion failed", error=type(error).__name__)

    async def sweep(self, path: str, *, keep_note: bool = False) -> bool:
        """Delete a noted file that no user refers to, and its note. Raises ServiceUnavailable.

        The lock on the note prevents that a user begins to refer to the file. With `keep_note` the purge sweeps again,
        for a file that may still appear.
        """
        async with self._engine.begin() as connection:
            is_used = (await connection.execute(_HOLD, {"path": path})).scalar()
            if is_used is None:  # no note, or another transaction has locked it
                return False
            if not is_used:
                await self._media.delete(key_of(path))
            if not keep_note:
                await connection.execute(_FORGET, {"path": path})
            return not is_used

    async def purge(self) -> tuple[int, int]:
        """Sweep files that were noted over an hour ago. Return the numbers of deleted and failed ones."""
        async with self._engine.connect() as connection:
            paths = (await connection.scalars(_OLD)).all()
        deleted = failed = 0
        for path in paths:
            try:
                deleted += await self.sweep(path)
            except ServiceUnavailable:
                failed += 1
                if failed == MAX_PURGE_FAILURES:
                    break
        return deleted, failed


def key_of(path: str) -> str:
    """Return the store's key of a file in `users.avatar`."""
    return "avatars/" + path.rpartition("/")[2]
