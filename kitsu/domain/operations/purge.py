"""Delete rows that are no longer needed, in batches that lock few rows, and stray files."""

from sqlalchemy import ColumnElement, Text, cast, delete, func, inspect, literal_column, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import Delete

from kitsu.db.models import (
    AccountToken,
    AnimeMerge,
    AuthSession,
    IdempotencyKey,
    ImportRun,
    LibraryImport,
    LoginCounter,
    MergedRow,
    MissedSearch,
    OIDCFlow,
    RateLimit,
    RefreshToken,
    SpentChallenge,
    Tombstone,
    TotpFactor,
)
from kitsu.db.models.viewer import TOMBSTONE_DAYS
from kitsu.domain.accounts.deactivation import remind_owners
from kitsu.domain.accounts.deletion import enqueue_deletions
from kitsu.domain.accounts.totp import SET_UP_TIME
from kitsu.domain.catalogue.merging import UNDO_DAYS
from kitsu.domain.idempotency import RETENTION
from kitsu.domain.jobs import LOG, QUEUE
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.daily_numbers import store_daily_numbers

BATCH = 1000
MISSED_SEARCH_DAYS = 90
SESSION_DAYS = 30
"""Ended sessions are stored so long, so that requests with their tokens get "revoked" or "expired"."""
ACCOUNT_TOKEN_DAYS = 30
"""Expired tokens of mails and expired invitations are stored so long."""
CHALLENGE_HOURS = 1
"""Used challenges are stored so long after their end: the clock of a machine may be behind the database's."""
IMPORT_DAYS = 7
"""An uploaded file is stored so long."""
LIBRARY_IMPORT_DAYS = 30
"""The report and the unknown rows of an import into a library are stored so long."""
JOB_DAYS = 30
"""Failed jobs and log lines of jobs are stored so long."""

_imports_since = func.now() - literal_column(f"interval '{IMPORT_DAYS} days'")
_library_imports_since = func.now() - literal_column(f"interval '{LIBRARY_IMPORT_DAYS} days'")
_jobs_since = func.now() - literal_column(f"interval '{JOB_DAYS} days'")
_account_tokens_since = func.now() - literal_column(f"interval '{ACCOUNT_TOKEN_DAYS} days'")
_challenges_since = func.now() - literal_column(f"interval '{CHALLENGE_HOURS} hours'")
_sessions_since = func.now() - literal_column(f"interval '{SESSION_DAYS} days'")
_merges_since = func.now() - literal_column(f"interval '{UNDO_DAYS} days'")
_tombstones_since = func.now() - literal_column(f"interval '{TOMBSTONE_DAYS} days'")


def _batch(model: type[DeclarativeBase], *conditions: ColumnElement[bool]) -> Delete:
    keys = inspect(model).primary_key
    return delete(model).where(tuple_(*keys).in_(select(*keys).where(*conditions).limit(BATCH).correlate(None)))


_STATEMENTS = {
    "sessions": _batch(
        AuthSession, or_(AuthSession.expires_at < _sessions_since, AuthSession.revoked_at < _sessions_since)
    ),
    "refresh_tokens": _batch(
        RefreshToken,
        RefreshToken.user_id == AuthSession.user_id,
        RefreshToken.session_id == AuthSession.id,
        RefreshToken.generation < AuthSession.generation,
        AuthSession.revoked_at.is_(None),
        RefreshToken.expires_at < func.now(),
    ),
    "account_tokens": _batch(AccountToken, AccountToken.expires_at < _account_tokens_since),
    "challenges": _batch(SpentChallenge, SpentChallenge.expires_at < _challenges_since),
    "unconfirmed_totp": _batch(
        TotpFactor, TotpFactor.confirmed_at.is_(None), TotpFactor.created_at < func.now() - SET_UP_TIME
    ),
    "tombstones": _batch(Tombstone, Tombstone.deleted_at < _tombstones_since),
    "idempotency_keys": _batch(IdempotencyKey, IdempotencyKey.created_at < func.now() - RETENTION),
    "merged_rows": _batch(MergedRow, MergedRow.merge_id == AnimeMerge.id, AnimeMerge.merged_at < _merges_since),
    "missed_searches": _batch(MissedSearch, MissedSearch.day < func.current_date() - MISSED_SEARCH_DAYS),
    "counters": _batch(RateLimit, RateLimit.ends_at < func.now()),
    "login_counters": _batch(LoginCounter, LoginCounter.ends_at < func.now()),
    "sign_in_flows": _batch(OIDCFlow, OIDCFlow.expires_at < func.now()),
    "unfinished_imports": _batch(ImportRun, ImportRun.created_at < _imports_since, ImportRun.state != "done"),
    "library_imports": _batch(LibraryImport, LibraryImport.created_at < _library_imports_since),
    "failed_jobs": delete(QUEUE).where(
        QUEUE.c.id.in_(
            select(QUEUE.c.id).where(cast(QUEUE.c.status, Text) == "failed", QUEUE.c.updated < _jobs_since).limit(BATCH)
        )
    ),
    "job_log_lines": delete(LOG).where(LOG.c.id.in_(select(LOG.c.id).where(LOG.c.created < _jobs_since).limit(BATCH))),
}


async def purge(engine: AsyncEngine, strays: OrphanFiles) -> tuple[dict[str, int], int]:
    """Delete what has expired, and stray files. Store the daily numbers of viewers. Enqueue the deletion of accounts.

    Return the numbers of deleted rows and files by kind, and of the stray files that the media store did not delete.
    """
    counts = dict.fromkeys(_STATEMENTS, 0)
    for kind, statement in _STATEMENTS.items():
        deleted = BATCH
        while deleted == BATCH:
            async with engine.begin() as connection:
                deleted = (await connection.execute(statement)).rowcount
            counts[kind] += deleted
    await store_daily_numbers(engine)
    async with AsyncSession(engine) as session:
        await enqueue_deletions(session)
        await remind_owners(session)
        await session.commit()
    counts["stray_files"], files_left = await strays.purge()
    if not files_left:
        await command_runs.note(engine, command_runs.PURGE)
    return counts, files_left
