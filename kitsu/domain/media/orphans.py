"""Files of the media store that no user refers to, or not yet, and their deletion.

A file's path is noted here before the file is put, and the note is deleted in the transaction that makes a user refer
to it. So a file without a user always has a note, also after a crash; and a transaction with a lock on the note's row
may delete the file.
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

AVATARS = "uploads/avatars/"
"""Prefix of `users.avatar`. The store keeps the file under another key."""
CLEANUP_TIMEOUT_SECONDS = 1.0
"""Seconds for the clean-up within a request; `kitsu purge` does the rest."""
GIVE_UP = 5

_path = bindparam("path", type_=String)
_NOTE = insert(StrayFile).values(path=_path).on_conflict_do_nothing()
_FORGET = delete(StrayFile).where(StrayFile.path == bindparam("forgotten", type_=String))
# Skips rows that an open transaction has locked.
_HOLD = select(exists().where(User.avatar == _path)).select_from(StrayFile).where(StrayFile.path == _path)
_HOLD = _HOLD.with_for_update(of=StrayFile, skip_locked=True)
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
        """Drop the note of a file that gets its user, in the caller's transaction.

        Raises ServiceUnavailable when `kitsu purge` has deleted the file already.
        """
        if (await execute_core(session, _FORGET, {"forgotten": path})).rowcount != 1:
            raise ServiceUnavailable

    async def tidy(self, path: str, *, again: bool = False) -> None:
        """Sweep a file now if that is quick, else leave it to `kitsu purge`.

        With `again` the note stays, so that the purge looks again for a file that may yet appear.
        """
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await self.sweep(path, again=again)
        except Exception as error:  # noqa: BLE001 - the note stays, and the caller has its own response
            log.warning("stray file left to the purge", error=type(error).__name__)

    async def sweep(self, path: str, *, again: bool = False) -> bool:
        """Delete a noted file that no user refers to, and its note. Raises ServiceUnavailable.

        The note's row is locked meanwhile, so that no user can begin to refer to the file.
        """
        async with self._engine.begin() as connection:
            is_used = (await connection.execute(_HOLD, {"path": path})).scalar()
            if is_used is None:
                return False
            if not is_used:
                await self._media.delete(key_of(path))
            if not again:
                await connection.execute(_FORGET, {"forgotten": path})
            return not is_used

    async def purge(self) -> tuple[int, int]:
        """Sweep what was noted over an hour ago. Return the numbers of files deleted and failed."""
        async with self._engine.connect() as connection:
            paths = (await connection.scalars(_OLD)).all()
        gone = failed = 0
        for path in paths:
            try:
                gone += await self.sweep(path)
            except ServiceUnavailable:
                failed += 1
                if failed == GIVE_UP:
                    break
        return gone, failed


def key_of(path: str) -> str:
    """Return the store's key of a file that `users.avatar` names."""
    return "avatars/" + path.rpartition("/")[2]
