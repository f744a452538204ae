"""Checks of the media store."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.checks import database
from kitsu.cli.checks.registry import Tag, check
from kitsu.db.models import User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.media.store import MediaStore
from kitsu.errors import NotFound, ServiceUnavailable
from kitsu.settings import Settings

AVATAR_SAMPLE = 20  # number of avatars that the check looks for
_RESTORE_HINT = "Mount the volume that holds them, or restore them from a backup."


@check("kitsu.E301", Tag.MEDIA, deploy=True)
async def media_store(store: MediaStore, settings: Settings) -> list[str]:
    if problem := store.folder_problem():
        return [f"Files can't be stored at {settings.media_url}: {problem}"]
    try:
        await store.probe()
    except ServiceUnavailable:
        return [f"Files can't be stored at {settings.media_url}: create the bucket, and let Kitsu write to it."]
    return []


@check("kitsu.E302", Tag.MEDIA, deploy=True, requires=database.schema, hint=_RESTORE_HINT)
async def missing_avatars(engine: AsyncEngine, store: MediaStore, settings: Settings) -> list[str]:
    """Look for some avatars of users in the store: a volume that is not mounted is an empty folder."""
    async with engine.connect() as connection:
        query = select(User.avatar).where(User.avatar.is_not(None)).limit(AVATAR_SAMPLE)
        avatars = (await connection.scalars(query)).all()
    for avatar in filter(None, avatars):
        try:
            await store.get(key_of(avatar))
        except NotFound:  # its user may have changed it a moment ago
            continue
        except ServiceUnavailable:  # kitsu.E301 reports it
            return []
        return []
    return [f"Users have avatars, but {settings.media_url} has none of them."] if avatars else []
