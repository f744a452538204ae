"""Avatars: the files of users in the media store."""

import re
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.profile import ProfileChange
from kitsu.domain.accounts.users import User, UserService
from kitsu.domain.concurrency import UserLocks, released_slot
from kitsu.domain.mapping import given
from kitsu.domain.media.orphans import AVATARS, OrphanFiles, key_of
from kitsu.domain.media.pictures import picture
from kitsu.domain.media.store import Media, MediaStore, PutOutcomeUnknown
from kitsu.domain.threads import Threads
from kitsu.errors import BadRequest, NotFound

log = structlog.get_logger("kitsu.media")

MAX_BYTES = 5 * 1024 * 1024
QUEUE_SIZE = 16  # users whose uploads may wait for a thread; further ones get 503
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class AvatarFiles:
    """The files of avatars, and the threads that decode uploads."""

    def __init__(self, media: MediaStore, orphans: OrphanFiles) -> None:
        self.media = media
        self.orphans = orphans
        self.threads = Threads("avatars", threads=1, queue=QUEUE_SIZE)
        self.locks = UserLocks()

    async def file(self, name: str) -> Media:
        """Return the file of an avatar. Raises NotFound, ServiceUnavailable."""
        if not _NAME.fullmatch(name) or ".." in name:
            raise NotFound
        return await self.media.get(key_of(name))


class AvatarService(UserService):
    def __init__(self, session: AsyncSession, *, context: AccountContext, files: AvatarFiles) -> None:
        super().__init__(session, context=context)
        self._files = files

    async def set(self, user_id: UUID, data: bytes, change: ProfileChange) -> User:
        """Set the avatar of a user, and the name if it is given, in one transaction.

        Raises BadRequest for an invalid image or a name that is taken, NotFound, InvalidRequest, RateLimited.
        """
        change.check()
        if len(data) > MAX_BYTES:
            raise BadRequest("The avatar is larger than 5 MB")
        await self._context.limiter.hit("avatar", str(user_id))
        with released_slot():
            async with self._files.locks.of(user_id):
                webp = await self._files.threads.run(lambda: picture(data))
        path = f"{AVATARS}{uuid4().hex}.webp"
        orphans = self._files.orphans
        await orphans.announce(path)
        try:
            await self._files.media.put(key_of(path), webp, "image/webp")
            user = await self._locked(user_id)
            old_path = user.avatar
            await self._change(user, {**given(change), "avatar": path})
            await orphans.adopt(self._session, path)
            if old_path is not None:
                await orphans.note(self._session, old_path)
            await self._session.commit()
        except Exception as error:
            await self._session.rollback()  # releases the lock on the note
            await orphans.tidy(path, keep_note=isinstance(error, PutOutcomeUnknown))
            raise
        log.info("avatar changed", user_id=str(user_id))
        if old_path is not None:
            await orphans.tidy(old_path)
        return self._struct_of(user)

    async def clear(self, user_id: UUID) -> None:
        """Delete the avatar of a user, if there is one. Raises NotFound."""
        user = await self._locked(user_id)
        path = user.avatar
        if path is None:
            return
        await self._change(user, {"avatar": None})
        await self._files.orphans.note(self._session, path)
        await self._session.commit()
        log.info("avatar deleted", user_id=str(user_id))
        await self._files.orphans.tidy(path)
