"""Accounts for operators: give a user a role, set a password, find a user by e-mail."""

from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db.models import User
from kitsu.domain.accounts.account_tokens import revoke_changes
from kitsu.domain.accounts.ended_sessions import IS_ACTIVE, revoke_sessions
from kitsu.domain.accounts.new_users import insert_user, valid_email
from kitsu.domain.accounts.notices import send_notice
from kitsu.domain.accounts.passwords import check_new, hash_password
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.users import keep_an_administrator
from kitsu.domain.admin_log import log_action
from kitsu.errors import NotFound

NAMES: dict[Role, str] = {"user": "a user", "editor": "an editor", "admin": "an administrator"}

log = structlog.get_logger("kitsu.security")


async def find_user_id(engine: AsyncEngine, email: str) -> UUID | None:
    """Return the user with this e-mail, in any case."""
    async with engine.connect() as connection:
        return await connection.scalar(select(User.id).where(func.lower(User.email) == func.lower(email.strip())))


async def give_role(engine: AsyncEngine, email: str, password: str | None, role: Role, ask: Callable[[], str]) -> str:
    """Give a role to an existing or a new account. Return a sentence that says which.

    `ask` is called for the password of a new account if none is given. A new password of an existing account ends its
    sessions. Raises InvalidRequest, and BadRequest for the last administrator.
    """
    address = valid_email(email)
    if password is None and await find_user_id(engine, address) is None:
        password = ask()
    password_hash = None
    if password is not None:
        check_new(password, "password", refuse_common=False)
        password_hash = hash_password(password)
    name = NAMES[role]
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        by_email = select(User).where(func.lower(User.email) == func.lower(address))
        user = await session.scalar(by_email.with_for_update())
        if user is None:
            created = await insert_user(session, address, password_hash or "", role)
            log.info("user created", user_id=str(created.id), role=role)
            return f"{address} is {name} now."
        if role != "admin":
            await keep_an_administrator(session, user.id)
        user.role, user.is_active, user.deletion_at = role, True, None
        if password_hash is not None:
            await _set_password(session, user, password_hash)
    log.info("role changed", user_id=str(user.id), role=role)
    return f"{user.email} was there already and is {name} now."


async def change_password(
    engine: AsyncEngine, email: str, password: str, *, refuse_common: bool, notifies: bool
) -> int:
    """Set a user's password, and tell the user by mail if `notifies`. Return the number of sessions that it ended.

    Raises NotFound, InvalidRequest.
    """
    check_new(password, "password", refuse_common=refuse_common)
    password_hash = hash_password(password)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        by_email = select(User).where(func.lower(User.email) == func.lower(email.strip()))
        user = await session.scalar(by_email.with_for_update())
        if user is None:
            raise NotFound(f"No user has the e-mail {email}.")
        ended = await _set_password(session, user, password_hash)
        await log_action(session, None, "password changed", user.username, user.id)
        if notifies:
            await send_notice(session, user.id, "password-changed")
    log.info("password changed", user_id=str(user.id))
    return ended


async def _set_password(session: AsyncSession, user: User, password_hash: str) -> int:
    """Set the password of a locked user, in the session's transaction. Return the number of sessions that it ended."""
    user.password_hash = password_hash
    await session.flush()
    await revoke_changes(session, user.id)
    ended = await revoke_sessions(session, "password", user.id, *IS_ACTIVE)
    return len(ended.all())
