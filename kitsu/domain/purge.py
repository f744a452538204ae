"""Purge: what nobody will ask for again leaves the database, in batches that lock little."""

import msgspec
from sqlalchemy import delete, func, literal_column, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import Delete

from kitsu.db.models import AuthSession, RateLimit, RefreshToken

BATCH = 1000
KEPT_DAYS = 30
"""How long an ended session is kept: till then its tokens are known, and answered as revoked or expired."""

_long_ago = func.now() - literal_column(f"interval '{KEPT_DAYS} days'")
_spent = (
    select(RefreshToken.session_id, RefreshToken.generation)
    .join(AuthSession, AuthSession.id == RefreshToken.session_id)
    .where(RefreshToken.generation < AuthSession.generation, RefreshToken.expires_at < _long_ago)
    .limit(BATCH)
)
_over = (
    select(AuthSession.id)
    .where(or_(AuthSession.expires_at < _long_ago, AuthSession.revoked_at < _long_ago))
    .limit(BATCH)
)
_ended = select(RateLimit.key).where(RateLimit.ends_at < func.now()).limit(BATCH)

_STATEMENTS: dict[str, Delete] = {
    "sessions": delete(AuthSession).where(AuthSession.id.in_(_over)),
    "refresh_tokens": delete(RefreshToken).where(tuple_(RefreshToken.session_id, RefreshToken.generation).in_(_spent)),
    "counters": delete(RateLimit).where(RateLimit.key.in_(_ended)),
}


class Purged(msgspec.Struct):
    """How many rows went."""

    sessions: int = 0
    refresh_tokens: int = 0
    counters: int = 0


async def purge(engine: AsyncEngine) -> Purged:
    """Delete sessions long over, refresh tokens long spent, and counters whose window has ended."""
    purged = Purged()
    for name, statement in _STATEMENTS.items():
        removed = BATCH
        while removed == BATCH:
            async with engine.begin() as connection:
                removed = (await connection.execute(statement)).rowcount
            setattr(purged, name, getattr(purged, name) + removed)
    return purged
