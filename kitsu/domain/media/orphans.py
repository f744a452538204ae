"""Files of the media store that nobody needs, or may not need, and how they go.

A file's path is noted here before the file is put, and the note goes in the transaction that has a user refer to it.
So a file without a user always has a note, whatever dies when; and whoever holds a note's row may delete its file.
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
"""What `users.avatar` begins with; where the file lies is the store's business."""
CLEANUP_TIMEOUT_SECONDS = 1.0
"""Seconds for what a request tidies up behind itself; the rest is for `kitsu purge`."""
GIVE_UP = 5

_path = bindparam("path", type_=String)
_NOTE = insert(StrayFile).values(path=_path).on_conflict_do_nothing()
_FORGET = delete(StrayFile).where(StrayFile.path == bindparam("forgotten", type_=String))
# Skips what a transaction still holds whose end is not known yet.
_HOLD = select(exists().where(User.avatar == _path)).select_from(StrayFile).where(StrayFile.path == _path)
_HOLD = _HOLD.with_for_update(of=StrayFile, skip_locked=True)
_OLD = (
    select(StrayFile.path)
    .where(StrayFile.since < func.now() - literal_column("interval '1 hour'"))
    .order_by(StrayFile.since, StrayFile.path)
)


class OrphanFiles:
    """Notes files, and deletes those that nobody refers to."""

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

        Raises ServiceUnavailable when `kitsu purge` was faster, and the file is gone.
        """
        if (await execute_core(session, _FORGET, {"forgotten": path})).rowcount != 1:
            raise ServiceUnavailable

    async def tidy(self, path: str, *, again: bool = False) -> None:
        """Sweep a file now if that is quickly done, else leave it to `kitsu purge`.

        With `again` the note stays, so that the purge looks once more for a file that may yet appear.
        """
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await self.sweep(path, again=again)
        except Exception as error:  # noqa: BLE001 - whatever it is, the note stays, and the caller has its own answer
            log.warning("stray file left to the purge", error=type(error).__name__)

    async def sweep(self, path: str, *, again: bool = False) -> bool:
        """Delete a noted file that no user refers to, and its note. Raises ServiceUnavailable.

        The note's row is held meanwhile, so that nobody can begin to refer to the file.
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
        """Sweep what was noted over an hour ago; how many files went, and how many could not."""
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
    """The store's key of a file that `users.avatar` names."""
    return "avatars/" + path.rpartition("/")[2]
