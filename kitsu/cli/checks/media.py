"""Checks of the media store."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.checks import database
from kitsu.cli.checks.registry import Problem, Tag, check
from kitsu.db.models import User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.media.store import MediaStore
from kitsu.errors import NotFound, ServiceUnavailable
from kitsu.settings import Settings

AVATAR_SAMPLE = 20
"""Avatars that the check looks for."""


@check("kitsu.E301", Tag.MEDIA, deploy=True)
async def media_store(store: MediaStore, settings: Settings) -> list[Problem]:
    """Report a store that takes no files."""
    message = f"Files can't be stored at {settings.media_url}"
    if error := store.folder_problem():
        reason, hint = Problem.from_error(error)
        return [Problem(f"{message}: {reason}", hint)]
    try:
        await store.probe()
    except ServiceUnavailable:
        return [Problem(f"{message}.", "Create the bucket, and give Kitsu the right to write to it.")]
    return []


@check("kitsu.E302", Tag.MEDIA, deploy=True, requires=database.schema)
async def missing_avatars(engine: AsyncEngine, store: MediaStore, settings: Settings) -> list[Problem]:
    """Report a store without the avatars that the database has: a volume that is not mounted is an empty folder."""
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
    problem = Problem(
        f"Users have avatars, but {settings.media_url} has none of them.",
        "Mount the volume that holds them, or restore them from a backup.",
    )
    return [problem] if avatars else []
