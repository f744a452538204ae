"""Who may create an account. Only what administrators and commands create is not asked here."""

from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.account_tokens import InvalidToken, spend
from kitsu.domain.accounts.context import AccountContext
from kitsu.errors import Forbidden


class RegistrationClosed(Forbidden, code="REGISTRATION_CLOSED", message="Registration is closed"):
    """Only administrators create accounts."""


class InvitationRequired(Forbidden, code="INVITATION_REQUIRED", message="Registration needs an invitation"):
    """Only invited users may create an account."""


def check_registration(context: AccountContext, invitation: str | None) -> None:
    """Raise RegistrationClosed or InvitationRequired if no request like this may create an account."""
    if context.registration == "closed":
        raise RegistrationClosed
    if context.registration == "invite" and invitation is None:
        raise InvitationRequired


async def admit_registration(
    session: AsyncSession, context: AccountContext, address: str, invitation: str | None
) -> bool:
    """Let an account with this address be created, and spend its invitation, in the caller's transaction.

    Return whether the address is verified, because the invitation came by mail to it. Raises as `check_registration`,
    and BadRequest for an invitation that is used, expired, unknown, or bound to another address.
    """
    check_registration(context, invitation)
    if invitation is None:
        return False
    token = await spend(session, invitation, "invite")
    if token.email not in {None, address}:
        raise InvalidToken
    return token.email is not None and context.mail_is_set_up
