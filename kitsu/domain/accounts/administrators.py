"""What operators do with accounts: the first administrator, and whose account an e-mail is."""

from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from kitsu.db import models
from kitsu.domain.accounts.passwords import PasswordHasher, check_new
from kitsu.domain.accounts.users import UserRows, valid_email

log = structlog.get_logger("kitsu.security")


async def user_of(engine: AsyncEngine, email: str) -> UUID | None:
    """The user with this e-mail, whatever its case."""
    statement = select(models.User.id).where(func.lower(models.User.email) == func.lower(email.strip()))
    async with engine.connect() as connection:
        user_id: UUID | None = await connection.scalar(statement)
    return user_id


async def make_administrator(engine: AsyncEngine, email: str, password: str | None, ask: Callable[[], str]) -> str:
    """Make an administrator of the account with this e-mail, or a new one; returns what was done, as a sentence.

    `ask` is called for the password of a new account when none is given. Raises InvalidRequest.
    """
    address = valid_email(email)
    by_email = select(models.User).where(func.lower(models.User.email) == func.lower(address))
    transactions = async_sessionmaker(engine, expire_on_commit=False)
    async with transactions() as session:
        known = (await session.scalars(by_email)).one_or_none() is not None
    if not known and password is None:
        password = ask()
    password_hash = None
    if password is not None:
        check_new(password, "password", refuse_common=False)
        hasher = PasswordHasher(threads=1, queue=1)
        password_hash = await hasher.hash(password)
        hasher.close()
    async with transactions.begin() as session:
        user = (await session.scalars(by_email.with_for_update())).one_or_none()
        if user is None:
            created = await UserRows(session).insert(address, password_hash or "", "admin")
            log.info("administrator created", user_id=str(created.id))
            return f"{address} is an administrator now."
        user.role, user.is_active = "admin", True
        if password_hash is not None:
            user.password_hash = password_hash
    log.info("role changed", user_id=str(user.id), role="admin")
    return f"{user.email} was there already and is an administrator now."
