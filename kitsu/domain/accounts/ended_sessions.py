"""The end of sessions: revoked by a reason, or beyond the number that a user may have."""

from typing import Any, Literal
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, CursorResult, DateTime, Uuid, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import AuthSession

log = structlog.get_logger("kitsu.security")

RevokeReason = Literal["logout", "ended", "password", "reuse", "account", "limit"]

CLOCK = func.statement_timestamp(type_=DateTime(timezone=True))
"""The time of a statement: that of a transaction may be long before its last lock."""
IS_ACTIVE = (AuthSession.revoked_at.is_(None), AuthSession.expires_at > CLOCK)
_of_user = AuthSession.user_id == bindparam("of_user", type_=Uuid)
_NUMBER = select(func.count()).select_from(AuthSession).where(_of_user)
_by_use = (AuthSession.last_used_at.desc(), AuthSession.id.desc())
_BEYOND = select(AuthSession.id).where(_of_user, *IS_ACTIVE).order_by(*_by_use).offset(bindparam("most"))
_is_ended = or_(AuthSession.revoked_at.is_not(None), AuthSession.expires_at <= CLOCK)
_by_end = (func.coalesce(AuthSession.revoked_at, AuthSession.expires_at).desc(), AuthSession.id.desc())
_ENDED_BEYOND = select(AuthSession.id).where(_of_user, _is_ended).order_by(*_by_end).offset(bindparam("most"))
_DELETE = delete(AuthSession).where(_of_user, AuthSession.id.in_(_ENDED_BEYOND.correlate(None)))


async def revoke_sessions(
    session: AsyncSession, reason: RevokeReason, user_id: UUID, *where: ColumnElement[bool], **parameters: Any
) -> CursorResult[Any]:
    """End the sessions of a user that meet the conditions, in the caller's transaction, and return their ids."""
    statement = update(AuthSession).where(_of_user, AuthSession.revoked_at.is_(None), *where)
    statement = statement.values(revoked_at=CLOCK, revoke_reason=reason)
    return await execute_core(session, statement.returning(AuthSession.id), {"of_user": user_id, **parameters})


async def limit_sessions(session: AsyncSession, user_id: UUID, most: int) -> None:
    """End the sessions of a user beyond a number, those that were used longest ago, in the caller's transaction.

    Of ended ones as many are kept, for the response to their tokens. The caller has locked the user, if others may
    start sessions of the user at the same time.
    """
    parameters = {"of_user": user_id, "most": most}
    if (await execute_core(session, _NUMBER, parameters)).scalar_one() <= most:
        return
    ended = await revoke_sessions(session, "limit", user_id, AuthSession.id.in_(_BEYOND.correlate(None)), most=most)
    if number := len(ended.all()):
        log.info("session limit reached", user_id=str(user_id), number=number)
    await execute_core(session, _DELETE, parameters)
