"""The second step of a login, and the sign-in to the admin site with a passkey alone."""

from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import User
from kitsu.domain.accounts import passkeys, recovery_codes
from kitsu.domain.accounts.challenges import spend
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.deactivation import MAY_SIGN_IN
from kitsu.domain.accounts.permissions import PERMISSIONS
from kitsu.domain.accounts.sessions import Device, Tokens
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.webauthn import PasskeyChallenge, UsedCredential
from kitsu.errors import Forbidden, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

WRONG_CODE = "The code is wrong or was used before"
WRONG_PASSKEY = "The passkey is wrong or was made for another site"
_ANYONE = UUID(int=0)
"""The user of a challenge for any user who has a passkey."""
_USER = (
    select(User.id, User.password_hash, MAY_SIGN_IN.label("may_sign_in"), User.role)
    .where(User.id == bindparam("user_id", type_=Uuid))
    # A change of the password or of the factors waits. Not FOR SHARE: the login of a deactivated user updates the row.
    .with_for_update(key_share=True)
)

Answer = str | UsedCredential
"""A code of TOTP, a recovery code, or a passkey that was used."""


class SecondStepService(AccountService):
    """Finishes logins with a second factor."""

    async def passkey_challenge(self, challenge: str | None) -> PasskeyChallenge:
        """Return what a browser needs for the passkeys of the user who has this challenge of a login.

        None: a new challenge for any user who has a passkey. Raises Unauthorized, NotFound without a passkey.
        """
        rules = self._context.second_factors
        if challenge is None:
            challenge = rules.passkey_sign_ins.issue(_ANYONE, "")
            return PasskeyChallenge(challenge, rules.party.request_options(challenge, None))
        known = await passkeys.known_credentials(self._session, rules.challenges.read(challenge).user_id)
        if not known:
            raise NotFound("The account has no passkey")
        return PasskeyChallenge(challenge, rules.party.request_options(challenge, known))

    async def finish_login(self, challenge: str, answer: Answer, device: Device) -> Tokens:
        """Start a session after the second step of a login. Raises Unauthorized, RateLimited."""
        with self._context.logins.counted():
            return await self._start(await self._answered(challenge, answer), device)

    async def finish_admin_login(self, challenge: str, answer: Answer, device: Device) -> str:
        """Start a session of the admin site after the second step, and return its cookie. Raises as `finish_login`."""
        with self._context.logins.counted():
            found = await self._answered(challenge, answer)
            if "edit:catalogue" not in PERMISSIONS[found["role"]]:
                raise Unauthorized
            return await self._start_admin(found, device)

    async def login_to_admin_with_passkey(self, challenge: str, credential: UsedCredential, device: Device) -> str:
        """Start a session of the admin site, and return its cookie. Raises Unauthorized, RateLimited, Forbidden.

        A passkey that verifies its user, by a PIN or a finger, is both a thing that the user has and one that the
        user knows or is: it replaces the password and the second factor.
        """
        with self._context.logins.counted():
            limits = self._context.login_limits
            async with limits.attempt(f"passkey {credential.id}", None, device.ip) as attempt:
                try:
                    cookie = await self._start_with_passkey(challenge, credential, device)
                    attempt.is_right = True
                except (Unauthorized, Forbidden):
                    attempt.is_right = False
                    raise
                finally:
                    await self._session.rollback()  # an attempt ends on a connection of its own
            return cookie

    async def _start_with_passkey(self, challenge: str, credential: UsedCredential, device: Device) -> str:
        rules = self._context.second_factors
        read = rules.passkey_sign_ins.read(challenge)
        owner = await passkeys.owner_of(self._session, credential)
        found = await self._user(owner) if owner else None
        is_right = found is not None and await passkeys.use_passkey(
            self._session, rules.party, found["id"], challenge, credential, verifies_user=True
        )
        if found is None or not found["may_sign_in"] or not is_right:
            log.warning("login failed", user_id=str(owner) if owner else None)
            raise Unauthorized(WRONG_PASSKEY)
        await spend(self._session, read)
        if "edit:catalogue" not in PERMISSIONS[found["role"]]:
            raise Forbidden
        return await self._start_admin(found, device)

    async def _answered(self, text: str, answer: Answer) -> Any:
        """Return the credentials of the user who answers a challenge, and use both up."""
        challenges = self._context.second_factors.challenges
        challenge = challenges.read(text)
        found = await self._user(challenge.user_id)
        if found is None or not found["may_sign_in"]:
            raise Unauthorized
        challenges.check(challenge, found["password_hash"])
        await use_factor(self._session, self._context, found["id"], answer, text)
        await spend(self._session, challenge)
        return found

    async def _user(self, user_id: UUID) -> Any:
        """Lock a user, and return the credentials."""
        return (await execute_core(self._session, _USER, {"user_id": user_id})).mappings().one_or_none()


async def use_factor(
    session: AsyncSession, context: AccountContext, user_id: UUID, answer: Answer, challenge: str
) -> None:
    """Use a second factor of a locked user up, in the caller's transaction. Raises Unauthorized, RateLimited.

    Each attempt is counted for the account before the check. A right one takes it back; a wrong one is committed.
    """
    await context.limiter.hit_on(session, "second-factor", str(user_id))
    rules = context.second_factors
    if isinstance(answer, str):
        code = typed(answer)
        is_right = await rules.vault.use(session, user_id, code) or await recovery_codes.use(session, user_id, code)
    else:
        is_right = await passkeys.use_passkey(session, rules.party, user_id, challenge, answer)
    if not is_right:
        await session.commit()
        log.warning("second factor failed", user_id=str(user_id))
        raise Unauthorized(WRONG_CODE if isinstance(answer, str) else WRONG_PASSKEY)
    await context.limiter.forget(session, "second-factor", str(user_id))


def typed(code: str) -> str:
    """Return a code without the blanks that apps show between its digits."""
    return "".join(code.split())
