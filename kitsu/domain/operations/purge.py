"""Purge: rows that are no longer needed are deleted, in batches that lock few rows, and stray files."""

import msgspec
from sqlalchemy import ColumnElement, delete, func, inspect, literal_column, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import Delete

from kitsu.db.models import AuthSession, IdempotencyKey, RateLimit, RefreshToken, Tombstone
from kitsu.db.models.viewer import TOMBSTONE_DAYS
from kitsu.domain.idempotency import RETENTION
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.operations import command_runs

BATCH = 1000
KEPT_DAYS = 30
"""Days for which an ended session is kept, so that requests with its tokens get "revoked" or "expired"."""

_kept_since = func.now() - literal_column(f"interval '{KEPT_DAYS} days'")
_tombstones_since = func.now() - literal_column(f"interval '{TOMBSTONE_DAYS} days'")


def _batch(model: type[DeclarativeBase], *conditions: ColumnElement[bool]) -> Delete:
    """Return a statement that deletes a batch of the rows with these conditions."""
    keys = inspect(model).primary_key
    return delete(model).where(tuple_(*keys).in_(select(*keys).where(*conditions).limit(BATCH).correlate(None)))


_STATEMENTS = {
    "sessions": _batch(AuthSession, or_(AuthSession.expires_at < _kept_since, AuthSession.revoked_at < _kept_since)),
    "refresh_tokens": _batch(
        RefreshToken,
        RefreshToken.session_id == AuthSession.id,
        RefreshToken.generation < AuthSession.generation,
        RefreshToken.expires_at < _kept_since,
    ),
    "tombstones": _batch(Tombstone, Tombstone.deleted_at < _tombstones_since),
    "idempotency_keys": _batch(IdempotencyKey, IdempotencyKey.created_at < func.now() - RETENTION),
    "counters": _batch(RateLimit, RateLimit.ends_at < func.now()),
}


class Purged(msgspec.Struct):
    """Numbers of deleted rows and files."""

    sessions: int = 0
    refresh_tokens: int = 0
    tombstones: int = 0
    idempotency_keys: int = 0
    counters: int = 0
    stray_files: int = 0
    files_left: int = 0
    """Stray files that the media store did not delete."""


async def purge(engine: AsyncEngine, strays: OrphanFiles) -> Purged:
    """Delete expired sessions, refresh tokens, tombstones, stored responses and counters, and stray files."""
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
