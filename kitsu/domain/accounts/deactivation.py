"""Accounts that their owners deactivated: others don't see them, a login brings them back, later a job deletes them."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import structlog
from sqlalchemy import DateTime, Row, Uuid, and_, bindparam, case, delete, func, null, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import User
from kitsu.domain.accounts.context import OrphanNotes
from kitsu.domain.accounts.mail import send_mail
from kitsu.domain.fields import described
from kitsu.errors import Unauthorized

log = structlog.get_logger("kitsu.security")

RETURN_TIME = timedelta(days=30)
REMINDER_TIME = timedelta(days=3)
"""How long before the deletion its owner is told again."""


class Deactivation(msgspec.Struct):
    """What becomes of the account that was deactivated."""

    deletion_at: Annotated[datetime, described("When the account is deleted, unless its owner logs in before.")]


_clock = func.clock_timestamp(type_=DateTime(timezone=True))
IS_VISIBLE = and_(User.is_active, User.deletion_at.is_(None))
"""The condition for a user whom others see."""
MAY_SIGN_IN = and_(User.is_active, or_(User.deletion_at.is_(None), User.deletion_at > _clock))
"""The condition for a user who may sign in, which brings the account back."""

_MAILED = (User.email, User.username, User.timezone, User.deletion_at)
_by_id = User.id == bindparam("user_id", type_=Uuid)
_DEACTIVATE = (
    update(User).where(_by_id).values(deletion_at=_clock + RETURN_TIME, deletion_reminded_at=None).returning(*_MAILED)
)
_REMIND = (
    update(User)
    .where(
        User.deletion_at.between(_clock, _clock + REMINDER_TIME),
        User.deletion_reminded_at.is_(None),
        User.is_active.is_(True),
    )
    .values(deletion_reminded_at=_clock)
    .returning(*_MAILED)
)
_BRING_BACK = (
    update(User)
    .where(_by_id, User.deletion_at.is_not(None))
    .values(deletion_at=case((User.deletion_at > _clock, null()), else_=User.deletion_at))
    .returning(User.deletion_at)
)
_DELETE = delete(User).where(_by_id)


async def deactivate(session: AsyncSession, user_id: UUID) -> datetime:
    """Deactivate a locked account and tell its owner, in the caller's transaction. Return the time of its deletion."""
    user = (await execute_core(session, _DEACTIVATE, {"user_id": user_id})).one()
    await _send(session, "account-deactivated", user)
    deletion_at: datetime = user.deletion_at
    return deletion_at


async def remind_owners(session: AsyncSession) -> None:
    """Tell the owners of accounts that are deleted soon, each once, in the caller's transaction."""
    for user in (await execute_core(session, _REMIND)).all():
        await _send(session, "account-deletion-soon", user)


async def bring_back(session: AsyncSession, user_id: UUID) -> bool:
    """Bring an account back whose owner signs in, in the caller's transaction. Return whether it was deactivated.

    Call it after the insertion of the session, which waits for a deactivation in progress. Raises Unauthorized
    after the time of the deletion.
    """
    row = (await execute_core(session, _BRING_BACK, {"user_id": user_id})).one_or_none()
    if row is not None and row.deletion_at is not None:
        raise Unauthorized
    return row is not None


async def delete_user(session: AsyncSession, orphans: OrphanNotes, user_id: UUID, avatar: str | None) -> None:
    """Delete a locked account with the rows that refer to it, commit, and delete its file."""
    if avatar is not None:
        await orphans.note(session, avatar)
    await execute_core(session, _DELETE, {"user_id": user_id})
    await session.commit()
    log.info("user deleted", user_id=str(user_id))
    if avatar is not None:
        await orphans.tidy(avatar)


async def _send(session: AsyncSession, template: str, user: Row[Any]) -> None:
    """Send a mail with the time of the deletion as its owner's clock shows it."""
    local = user.deletion_at.astimezone(ZoneInfo(user.timezone))
    time = f"{local:%Y-%m-%d %H:%M} ({user.timezone})"
    await send_mail(session, template, user.email, token_id=None, username=user.username, time=time)
