"""Insertion of an account: the address, the name that is made from it, and the constraints."""

import re
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.errors import translate_constraint_errors
from kitsu.domain.accounts.account_tokens import is_reserved
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.usernames import is_allowed
from kitsu.errors import BadRequest, InvalidRequest

MAX_EMAIL_LENGTH = 255


class UsernameTaken(BadRequest):
    message = "Username already taken"


email_taken = partial(BadRequest, "Email already registered")
constraint_errors = partial(
    translate_constraint_errors,
    {"uq_users_email": email_taken, "uq_users_email_lower": email_taken, "uq_users_username_lower": UsernameTaken},
)


async def insert_user(
    session: AsyncSession, email: str, password_hash: str, role: Role, *, is_verified: bool = False
) -> models.User:
    """Insert an account, whose name is made from the e-mail. Raises BadRequest when the e-mail is taken.

    `is_verified`: the owner of the address has proved it.
    """
    verified_at = datetime.now(UTC) if is_verified else None
    local_part = re.sub(r"[^A-Za-z0-9_-]", "", email.split("@", maxsplit=1)[0])
    username = local_part[:32]
    while True:
        if not is_allowed(username):
            username = f"{(local_part or 'user')[:19]}-{token_hex(6)}"
        user = models.User(
            email=email, username=username, password_hash=password_hash, role=role, email_verified_at=verified_at
        )
        try:
            with constraint_errors():
                async with session.begin_nested():
                    session.add(user)
                    await session.flush()
                    # Only now: the insertion waited for a change that reserves the address.
                    if await is_reserved(session, email):
                        raise email_taken()
        except UsernameTaken:
            username = ""
        else:
            return user


def valid_email(email: str) -> str:
    """Return the address as it is stored: normalized, in lower case. Raises InvalidRequest."""
    try:
        address = validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InvalidRequest([{"field": "email", "message": str(error)}]) from None
    if len(address) > MAX_EMAIL_LENGTH:
        message = f"The address has more than {MAX_EMAIL_LENGTH} characters."
        raise InvalidRequest([{"field": "email", "message": message}])
    return address
