"""Tokens that mails carry. A token is derived from the id of its row, so that it is stored nowhere."""

from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db.engine import execute_core
from kitsu.db.models import AccountToken
from kitsu.errors import BadRequest

PURPOSE_PATHS = {
    "verify-email": "/verify-email",
    "reset-password": "/reset-password",
    "change-email": "/change-email",
    "revert-email": "/revert-email",
    "invite": "/register",
    "return": "/return",
}
"""The paths of the front end to which the links of a purpose lead."""


class InvalidToken(BadRequest, message="The token is invalid or has expired"):
    """The token is unknown, used, expired, or of another purpose or user."""


def derive(secret_key: str, token_id: UUID, purpose: str) -> str:
    """Return the token of a row, always the same one. It can't be derived without the secret key."""
    derived = digest(secret_key.encode(), f"account token {purpose} {token_id}".encode(), "sha256")
    return urlsafe_b64encode(derived).rstrip(b"=").decode()


async def issue(
    session: AsyncSession,
    secret_key: str,
    user_id: UUID | None,
    purpose: str,
    lifetime: timedelta,
    email: str | None = None,
) -> UUID:
    """Store a token in the caller's transaction, and return its id."""
    token_id = uuid7()
    token_hash = _hash(derive(secret_key, token_id, purpose))
    values = {"id": token_id, "user_id": user_id, "purpose": purpose, "token_hash": token_hash, "email": email}
    await execute_core(session, insert(AccountToken).values(**values, expires_at=func.now() + lifetime))
    return token_id


async def spend(session: AsyncSession, token: str, purpose: str) -> Row[Any]:
    """Use a token in the caller's transaction, and return its user and its address. Raises InvalidToken."""
    is_valid = (
        AccountToken.token_hash == _hash(token),
        AccountToken.purpose == purpose,
        AccountToken.used_at.is_(None),
        AccountToken.expires_at > func.now(),
    )
    statement = update(AccountToken).where(*is_valid).values(used_at=func.now())
    row = (await execute_core(session, statement.returning(AccountToken.user_id, AccountToken.email))).one_or_none()
    if row is None:
        raise InvalidToken
    return row


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
