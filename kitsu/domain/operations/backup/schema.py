"""What a backup has to know of a database: its revision, what is in it, and which files it names."""

from collections.abc import Iterable

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.models import StrayFile, User
from kitsu.domain.media.orphans import key_of

# What belongs to an extension an administrator may have put into an empty database.
_RELATIONS = text("""
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
""")
_FORGET = text("UPDATE users SET avatar = NULL WHERE avatar = ANY(:lost)")


async def relations(connection: AsyncConnection) -> list[str]:
    """The names of the tables, views and sequences."""
    return list((await connection.scalars(_RELATIONS)).all())


async def named(connection: AsyncConnection) -> tuple[set[str], set[str]]:
    """The keys of the files that users have, and of those that are noted as stray."""
    used = await connection.scalars(select(User.avatar).where(User.avatar.is_not(None)))
    noted: Iterable[str] = ()
    if StrayFile.__tablename__ in await relations(connection):  # which the FastAPI service did not have
        noted = await connection.scalars(select(StrayFile.path))
    return {key_of(path) for path in used if path}, {key_of(path) for path in noted}


async def forget_files(connection: AsyncConnection, keys: Iterable[str]) -> int:
    """Have the users without an avatar whose file is none of these; how many they are."""
    kept = set(keys)
    used = await connection.scalars(select(User.avatar).where(User.avatar.is_not(None)))
    lost = [path for path in used if path and key_of(path) not in kept]
    return (await connection.execute(_FORGET, {"lost": lost})).rowcount
