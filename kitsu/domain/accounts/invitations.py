"""Invitations to create an account: who issues them, which there are, and their links."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import AccountToken, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.account_tokens import PURPOSE_PATHS, derive, issue
from kitsu.domain.accounts.mail import send_mail
from kitsu.domain.accounts.new_users import email_taken, valid_email
from kitsu.domain.admin_log import log_action
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import NotFound

LIFETIME = timedelta(days=14)

log = structlog.get_logger("kitsu.security")


class Invitation(msgspec.Struct):
    """An invitation. One with an e-mail is valid only for an account with that address."""

    id: UUID
    email: str | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    is_open: bool


_is_open = (AccountToken.used_at.is_(None), AccountToken.expires_at > func.now())
_is_invitation = AccountToken.purpose == "invite"
_ROWS: Rows = select(*columns_of(Invitation, AccountToken, is_open=_is_open[0] & _is_open[1])).where(_is_invitation)
_LISTING = Listing(
    Invitation,
    _ROWS,
    descending(AccountToken.created_at),
    descending(AccountToken.id),
    counted=select(AccountToken.id).where(_is_invitation),
)


class InvitationReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, request: PageRequest) -> Page[Invitation]:
        """Return invitations, newest first."""
        return await _LISTING.page(self._runner, {}, request)


class InvitationRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the links of invitations are made of, and whether mails are sent."""

    secret_key: str
    front_end_url: str
    sends_mail: bool

    def link(self, token_id: UUID) -> str:
        """Return the address of the front end at which an invitation is accepted."""
        return f"{self.front_end_url}{PURPOSE_PATHS['invite']}?token={derive(self.secret_key, token_id, 'invite')}"


class InvitationService:
    """Issues and revokes invitations."""

    def __init__(self, session: AsyncSession, *, rules: InvitationRules) -> None:
        self._session = session
        self._rules = rules

    async def invite(self, email: str | None, *, by: UUID | None) -> str:
        """Issue an invitation, and return its link. With an e-mail it is bound to that, and sent to it.

        `by`: see `log_action`. Raises InvalidRequest, and BadRequest when the e-mail is taken.
        """
        address = valid_email(email) if email else None
        if address is not None:
            is_taken = select(exists().where(func.lower(User.email) == address))
            if await self._session.scalar(is_taken):
                raise email_taken()
        token_id = await issue(self._session, self._rules.secret_key, None, "invite", LIFETIME, email=address)
        if address is not None and self._rules.sends_mail:
            await send_mail(self._session, "invitation", address, token_id=token_id, days=str(LIFETIME.days))
        # Without the address, which is of a person who has no account.
        await log_action(self._session, by, "user invited", "invitation", None)
        await self._session.commit()
        log.info("user invited", invitation_id=str(token_id))
        return self._rules.link(token_id)

    async def revoke(self, invitation_id: UUID, *, by: UUID) -> None:
        """Delete an open invitation. Raises NotFound."""
        statement = delete(AccountToken).where(AccountToken.id == invitation_id, _is_invitation, *_is_open)
        if (await execute_core(self._session, statement)).rowcount != 1:
            raise NotFound("Invitation not found")
        await log_action(self._session, by, "invitation revoked", "invitation", None)
        await self._session.commit()
        log.info("invitation revoked", invitation_id=str(invitation_id))
