"""Tokens that mails carry. A token is derived from the id of its row, so that it is stored nowhere."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Text, Uuid, and_, bindparam, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db.engine import execute_core
from kitsu.db.models import AccountToken
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.opaque_tokens import derive_token, hash_token
from kitsu.errors import BadRequest

PURPOSE_PATHS = {
    "verify-email": "/verify-email",
    "reset-password": "/reset-password",
    "change-email": "/confirm-email",
    "revert-email": "/revert-email",
    "invite": "/register",
}
"""The paths of the front end to which the links of a purpose lead."""

_is_usable = and_(AccountToken.used_at.is_(None), AccountToken.expires_at > func.now())
_is_token = and_(
    AccountToken.token_hash == bindparam("hash", type_=Text),
    AccountToken.purpose == bindparam("purpose_", type_=Text),
    _is_usable,
)
_OWNER: Any = select(AccountToken.user_id).where(_is_token)
_RESERVED = select(
    exists().where(
        func.lower(AccountToken.email) == bindparam("address", type_=Text),
        AccountToken.purpose == "revert-email",
        _is_usable,
        AccountToken.user_id.is_distinct_from(bindparam("but", type_=Uuid)),
    )
)


class InvalidToken(BadRequest, message="The token is invalid or has expired"):
    """The token is unknown, used, expired, or of another purpose or user."""


def derive(secret_key: str, token_id: UUID, purpose: str) -> str:
    """Return the token of a row, always the same one. It can't be derived without the secret key."""
    return derive_token(secret_key, f"account token {purpose} {token_id}")


async def issue(
    session: AsyncSession,
    secret_key: str,
    user_id: UUID | None,
    purpose: str,
    lifetime: timedelta,
    email: str | None = None,
    *,
    state: str | None = None,
) -> UUID:
    """Store a token in the caller's transaction, and return its id.

    It is bound to the address, and to a state of the account, such as the stored password: see `is_of_state`.
    """
    token_id = uuid7()
    values = {
        "id": token_id,
        "user_id": user_id,
        "purpose": purpose,
        "token_hash": hash_token(derive(secret_key, token_id, purpose)),
        "email": email,
        "state_hash": None if state is None else hash_token(state),
    }
    await execute_core(session, insert(AccountToken).values(**values, expires_at=func.now() + lifetime))
    return token_id


async def owner_of(runner: StatementRunner, token: str, purpose: str) -> UUID:
    """Return the user of a token that can be spent. Raises InvalidToken."""
    user_id: UUID | None = await runner.value(_OWNER, {"hash": hash_token(token), "purpose_": purpose})
    if user_id is None:
        raise InvalidToken
    return user_id


async def spend(session: AsyncSession, token: str, purpose: str) -> Row[Any]:
    """Use a token in the caller's transaction, and return its row. Raises InvalidToken."""
    statement = update(AccountToken).where(_is_token).values(used_at=func.now())
    columns = (AccountToken.id, AccountToken.user_id, AccountToken.email, AccountToken.state_hash)
    parameters = {"hash": hash_token(token), "purpose_": purpose}
    row = (await execute_core(session, statement.returning(*columns), parameters)).one_or_none()
    if row is None:
        raise InvalidToken
    return row


async def revoke_tokens_since(session: AsyncSession, user_id: UUID, token_id: UUID) -> None:
    """End the open tokens of a user that were issued after a token, in the caller's transaction."""
    # Ids of version 7 are in the order of their times.
    where = (AccountToken.user_id == user_id, AccountToken.id > token_id, AccountToken.used_at.is_(None))
    await execute_core(session, update(AccountToken).where(*where).values(used_at=func.now()))


async def revoke_changes(session: AsyncSession, user_id: UUID) -> None:
    """End the open links to a new address of a user, in the caller's transaction."""
    await _revoke(session, user_id, "change-email")


async def revoke_of_address(session: AsyncSession, user_id: UUID) -> None:
    """End the open links that are bound to the address of a user until now, in the caller's transaction.

    Otherwise they would work again with a change back.
    """
    await _revoke(session, user_id, "change-email", "reset-password", "verify-email")


async def _revoke(session: AsyncSession, user_id: UUID, *purposes: str) -> None:
    where = (AccountToken.user_id == user_id, AccountToken.purpose.in_(purposes), AccountToken.used_at.is_(None))
    await execute_core(session, update(AccountToken).where(*where).values(used_at=func.now()))


async def is_reserved(session: AsyncSession, address: str, but: UUID | None = None) -> bool:
    """Return whether the former owner of an address can still get it back. `but`: the user who wants it now."""
    return bool(await session.scalar(_RESERVED, {"address": address, "but": but}))


def is_of_state(token: Row[Any], state: str) -> bool:
    """Return whether an account is in the state in which the token was issued."""
    return bool(token.state_hash == hash_token(state))
