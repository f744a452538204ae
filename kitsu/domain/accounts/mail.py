"""Mails to users: enqueued in the transaction that causes them, sent by a job."""

from typing import ClassVar
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db.models import AccountToken
from kitsu.domain.accounts.account_tokens import PURPOSE_PATHS, derive
from kitsu.domain.jobs import Job, enqueue


class SendMail(Job, frozen=True):
    """Sends a mail: a template of `kitsu/mail/templates` with its values.

    With a token the mail has a link, and is not sent when the token was used or has expired.
    """

    name: ClassVar[str] = "send-mail"
    template: str
    to: str
    token_id: UUID | None = None
    values: dict[str, str] = msgspec.field(default_factory=dict)
    mail_id: UUID = msgspec.field(default_factory=uuid7)
    """The mail's Message-ID, the same for each try."""


async def send_mail(
    session: AsyncSession, template: str, to: str, *, token_id: UUID | None = None, **values: str
) -> None:
    """Send a mail when the session's transaction is committed."""
    await enqueue(session, SendMail(template, to, token_id, values))


async def token_link(engine: AsyncEngine, token_id: UUID, *, front_end_url: str, secret_key: str) -> str | None:
    """Return the link of a token, or None if it was used, deleted or has expired."""
    is_usable = (AccountToken.used_at.is_(None), AccountToken.expires_at > func.now())
    async with engine.connect() as connection:
        purpose = await connection.scalar(select(AccountToken.purpose).where(AccountToken.id == token_id, *is_usable))
    if purpose is None:
        return None
    return f"{front_end_url}{PURPOSE_PATHS[purpose]}?token={derive(secret_key, token_id, purpose)}"
