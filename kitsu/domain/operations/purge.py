"""Purge: what nobody will ask for again leaves the database, in batches that lock little, and the media store."""

import msgspec
from sqlalchemy import delete, func, literal_column, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import Delete

from kitsu.db.models import AuthSession, IdempotencyKey, RateLimit, RefreshToken, Tombstone
from kitsu.db.models.viewer import TOMBSTONE_DAYS
from kitsu.domain.idempotency import RETENTION
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.operations import command_runs

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
_forgotten = (
    select(Tombstone.id)
    .where(Tombstone.deleted_at < func.now() - literal_column(f"interval '{TOMBSTONE_DAYS} days'"))
    .limit(BATCH)
)
_answered = (
    select(IdempotencyKey.user_id, IdempotencyKey.key)
    .where(IdempotencyKey.created_at < func.now() - RETENTION)
    .limit(BATCH)
)
_ended = select(RateLimit.key).where(RateLimit.ends_at < func.now()).limit(BATCH)

_STATEMENTS: dict[str, Delete] = {
    "sessions": delete(AuthSession).where(AuthSession.id.in_(_over)),
    "refresh_tokens": delete(RefreshToken).where(tuple_(RefreshToken.session_id, RefreshToken.generation).in_(_spent)),
    "tombstones": delete(Tombstone).where(Tombstone.id.in_(_forgotten)),
    "idempotency_keys": delete(IdempotencyKey).where(tuple_(IdempotencyKey.user_id, IdempotencyKey.key).in_(_answered)),
    "counters": delete(RateLimit).where(RateLimit.key.in_(_ended)),
}


class Purged(msgspec.Struct):
    """How many rows and files went."""

    sessions: int = 0
    refresh_tokens: int = 0
    tombstones: int = 0
    idempotency_keys: int = 0
    counters: int = 0
    stray_files: int = 0
    files_left: int = 0
    """Stray ones that the media store did not delete."""


async def purge(engine: AsyncEngine, strays: OrphanFiles) -> Purged:
    """Delete what its time is over: sessions, refresh tokens, tombstones, answers kept, counters; and stray files."""
    purged = Purged()
    for name, statement in _STATEMENTS.items():
        removed = BATCH
        while removed == BATCH:
            async with engine.begin() as connection:
                removed = (await connection.execute(statement)).rowcount
            setattr(purged, name, getattr(purged, name) + removed)
    purged.stray_files, purged.files_left = await strays.purge()
    if not purged.files_left:
        await command_runs.note(engine, command_runs.PURGE)
    return purged
