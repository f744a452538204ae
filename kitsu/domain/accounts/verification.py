"""Verification of an e-mail address: the link, and what an unverified address may not do."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.models import User
from kitsu.domain.accounts.account_tokens import issue
from kitsu.domain.accounts.mail import send_mail
from kitsu.errors import Forbidden

VERIFY_LIFETIME = timedelta(days=1)


class EmailNotVerified(Forbidden, code="EMAIL_NOT_VERIFIED", message="The e-mail address is not verified"):
    """The user has to follow the link in the mail before the login."""


async def send_verification(session: AsyncSession, secret_key: str, user: User) -> None:
    """Send the link that verifies the address, in the caller's transaction."""
    token_id = await issue(session, secret_key, user.id, "verify-email", VERIFY_LIFETIME, user.email)
    await send_mail(session, "verify-email", user.email, token_id=token_id, username=user.username)
