"""E-mail addresses: their verification and change, and the reset of a forgotten password, by links in mails."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

import structlog
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db import models
from kitsu.domain.accounts.account_tokens import (
    InvalidToken,
    is_of_state,
    is_reserved,
    issue,
    owner_of,
    revoke_changes,
    revoke_of_address,
    revoke_tokens_since,
    spend,
)
from kitsu.domain.accounts.deactivation import MAY_SIGN_IN
from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.mail import send_mail
from kitsu.domain.accounts.new_users import constraint_errors, email_taken, valid_email
from kitsu.domain.accounts.notices import notify
from kitsu.domain.accounts.passwords import check_new
from kitsu.domain.accounts.second_factors import remove_ways_since
from kitsu.domain.accounts.sessions import Device
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.verification import VERIFY_LIFETIME, send_verification
from kitsu.domain.admin_log import log_action
from kitsu.domain.jobs import Job, enqueue
from kitsu.errors import InvalidRequest, NotFound, RateLimited

RESET_LIFETIME = timedelta(hours=1)
REVERT_LIFETIME = timedelta(days=7)

log = structlog.get_logger("kitsu.security")


class SendLink(Job, frozen=True):
    """Sends a link to the user of an address, if there is one.

    A job: a request for an unknown address then does the same, and takes the same time.
    """

    name: ClassVar[str] = "send-link"
    purpose: Literal["verify-email", "reset-password"]
    email: str


async def send_link(engine: AsyncEngine, secret_key: str, job: SendLink) -> None:
    """Run a job SendLink."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        by_email = select(models.User).where(func.lower(models.User.email) == job.email, MAY_SIGN_IN)
        user = await session.scalar(by_email)
        if user is None:
            return
        if job.purpose == "verify-email":
            if user.email_verified:
                return
            await send_verification(session, secret_key, user)
        else:
            await send_reset(session, secret_key, user)
        await session.commit()


async def send_reset(session: AsyncSession, secret_key: str, user: models.User) -> None:
    """Send the link to reset the password, in the caller's transaction."""
    state = user.password_hash
    token_id = await issue(session, secret_key, user.id, "reset-password", RESET_LIFETIME, user.email, state=state)
    await send_mail(session, "reset-password", user.email, token_id=token_id, username=user.username)
    log.info("password reset requested", user_id=str(user.id))


async def send_reset_mail(session: AsyncSession, secret_key: str, user_id: UUID | None, *, by: UUID | None) -> None:
    """Send a user the link to reset the password. Raises NotFound. `by`: see `log_action`."""
    is_user = (models.User.id == user_id, MAY_SIGN_IN)
    user = await session.scalar(select(models.User).where(*is_user))
    if user is None:
        raise NotFound("User not found")
    await send_reset(session, secret_key, user)
    await log_action(session, by, "reset mail sent", user.username, user.id)
    await session.commit()


class RecoveryService(AccountService):
    """Verifies and changes addresses, and resets passwords."""

    @property
    def _secret_key(self) -> str:
        return self._context.session_rules.secret_key

    async def send_reset(self, user_id: UUID, *, by: UUID) -> None:
        """Send a user the link to reset the password. Raises NotFound."""
        await send_reset_mail(self._session, self._secret_key, user_id, by=by)

    async def request_link(self, purpose: Literal["verify-email", "reset-password"], email: str) -> None:
        """Send a link to the user of an address. Raises InvalidRequest; nothing tells whether there is a user.

        More requests than RATE_LIMIT_MAIL allows for the address send no mail.
        """
        address = valid_email(email)
        with suppress(RateLimited):
            await self._context.limiter.hit("mail", address)
            await enqueue(self._session, SendLink(purpose, address))
        await self._session.commit()

    async def request_own_verification(self, identity: Identity) -> None:
        """Send the link to verify the address of a signed-in user, unless it is verified. Raises RateLimited."""
        await self._context.limiter.hit("mail", str(identity.user_id))
        user = await self._locked(identity.user_id)
        if not user.email_verified:
            await send_verification(self._session, self._secret_key, user)
        await self._session.commit()

    async def verify(self, token: str) -> None:
        """Verify the address to which the token was sent. Raises InvalidToken."""
        user, row = await self._spend(token, "verify-email")
        if row.email != user.email:
            raise InvalidToken
        user.email_verified_at = datetime.now(UTC)
        await self._session.commit()
        log.info("email verified", user_id=str(user.id))

    async def reset_password(self, token: str, new_password: str) -> None:
        """Set a new password, and end all sessions. Raises InvalidToken, InvalidRequest."""
        check_new(new_password, "new_password", refuse_common=self._context.refuse_common_passwords)
        # Without a connection while the password is hashed, and not at all for a wrong token.
        await owner_of(self._context.runner, token, "reset-password")
        password_hash = await self._context.hasher.hash(new_password)
        user, row = await self._spend(token, "reset-password")
        if row.email != user.email or not is_of_state(row, user.password_hash):
            raise InvalidToken
        user.password_hash = password_hash
        user.email_verified_at = user.email_verified_at or datetime.now(UTC)
        await self._session.flush()
        await revoke_changes(self._session, user.id)
        await self._sessions.revoke_all(user.id, "password")
        # The link is a key to the account: its owner must learn that it was used.
        await notify(self._session, self._context, user.id, "password-changed", is_required=True)
        await self._session.commit()
        log.info("password reset", user_id=str(user.id))

    async def request_email_change(self, identity: Identity, email: str, password: str, device: Device) -> None:
        """Send the link that confirms a new address to it. Raises Unauthorized, RateLimited, InvalidRequest.

        Nothing tells whether another account has the address: then its owner gets another mail.
        """
        address = valid_email(email)
        await self._prove(identity, password, "password", device)
        await self._context.limiter.hit("mail", str(identity.user_id))
        # Many accounts could send to a stranger. Not the counter of `request_link`, or they could use up its resets.
        await self._context.limiter.hit("mail", "new address", address)
        user = await self._locked(identity.user_id)
        if user.email.lower() == address:
            raise InvalidRequest([{"field": "email", "message": "It is the address of the account already"}])
        if await self._is_taken(address, user.id):
            await send_mail(self._session, "address-taken", address)
        else:
            token_id = await issue(
                self._session, self._secret_key, user.id, "change-email", VERIFY_LIFETIME, address, state=user.email
            )
            await send_mail(self._session, "change-email", address, token_id=token_id, username=user.username)
        await self._session.commit()
        log.info("email change requested", user_id=str(user.id))

    async def confirm_email(self, token: str) -> None:
        """Set the new address that the token confirms. Raises InvalidToken, and BadRequest when it is taken.

        The owner of the old address can revert it, if that was verified: an unverified one may be another person's.
        """
        user, row = await self._spend(token, "change-email")
        if not is_of_state(row, user.email):
            raise InvalidToken
        old, was_verified = user.email, user.email_verified
        await self._set_email(user, row.email)
        if was_verified:
            token_id = await issue(self._session, self._secret_key, user.id, "revert-email", REVERT_LIFETIME, old)
            await send_mail(self._session, "revert-email", old, token_id=token_id, username=user.username)
        else:
            await notify(self._session, self._context, user.id, "email-changed", to=old)
        await self._session.commit()
        log.info("email changed", user_id=str(user.id))

    async def revert_email(self, token: str) -> None:
        """Set the old address again, and end all sessions. Raises InvalidToken, and BadRequest when it is taken.

        Second factors and links of providers that were added since may be another person's: they are removed.
        """
        user, row = await self._spend(token, "revert-email")
        await self._set_email(user, row.email)
        await revoke_tokens_since(self._session, user.id, row.id)
        await remove_ways_since(self._session, user, row.id)
        await self._sessions.revoke_all(user.id, "account")
        await self._session.commit()
        log.warning("email reverted", user_id=str(user.id))

    async def _spend(self, token: str, purpose: str) -> tuple[models.User, Any]:
        """Lock the user of a token, and use it. Raises InvalidToken."""
        # The user first, as all that changes or deletes an account does.
        user_id = await owner_of(self._context.runner, token, purpose)
        is_user = (models.User.id == user_id, MAY_SIGN_IN)
        user = await self._session.scalar(select(models.User).where(*is_user).with_for_update())
        row = await spend(self._session, token, purpose)
        if user is None or row.user_id != user.id:
            raise InvalidToken
        return user, row

    async def _set_email(self, user: models.User, address: str) -> None:
        if await self._is_taken(address, user.id):
            raise email_taken()
        user.email, user.email_verified_at = address, datetime.now(UTC)
        with constraint_errors():
            await self._session.flush()
        # Again: the update waited for a change that reserves the address.
        if await is_reserved(self._session, address, user.id):
            raise email_taken()
        await revoke_of_address(self._session, user.id)

    async def _is_taken(self, address: str, user_id: UUID) -> bool:
        is_other = (func.lower(models.User.email) == address.lower(), models.User.id != user_id)
        is_used = await self._session.scalar(select(exists().where(*is_other)))
        return bool(is_used) or await is_reserved(self._session, address, user_id)
