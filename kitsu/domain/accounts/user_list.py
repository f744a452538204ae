"""The list of all users for operators, read in pieces."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import AuthSession, User
from kitsu.domain.accounts.deactivation import IS_VISIBLE
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.mapping import Rows


class ListedUser(msgspec.Struct):
    """A user, as an operator sees it."""

    email: str
    username: str
    role: Role
    is_active: bool
    """Whether neither an administrator nor the owner has deactivated the account."""
    email_verified: bool
    has_second_factor: bool
    created_at: datetime
    last_seen_at: datetime | None
    """When the tokens of a session that is still stored were last refreshed."""


async def list_users(
    engine: AsyncEngine, *, role: Role | None = None, inactive: bool = False, search: str | None = None
) -> AsyncIterator[ListedUser]:
    """Yield the users by e-mail. `inactive`: only deactivated ones. `search`: part of the e-mail or the name."""
    where: list[ColumnElement[bool]] = []
    if role is not None:
        where.append(User.role == role)
    if inactive:
        where.append(not_(IS_VISIBLE))
    if search is not None:
        where.append(or_(*(each.icontains(search.strip(), autoescape=True) for each in (User.email, User.username))))
    async with engine.connect() as connection, connection.stream(_users().where(*where)) as rows:
        async for row in rows.mappings():
            yield ListedUser(**row)


def _users() -> Rows:
    last_seen = select(func.max(AuthSession.last_used_at)).where(AuthSession.user_id == User.id).scalar_subquery()
    return select(
        User.email,
        User.username,
        User.role,
        IS_VISIBLE.label("is_active"),
        User.email_verified_at.is_not(None).label("email_verified"),
        User.second_factor_since.is_not(None).label("has_second_factor"),
        User.created_at,
        last_seen.label("last_seen_at"),
    ).order_by(func.lower(User.email))
