"""What users do with their own accounts: register, log in, change the password, delete the account."""

import asyncio
import time
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Executable, Uuid, bindparam, func, select, update

from kitsu.db.engine import execute_core
from kitsu.db.models import User
from kitsu.domain.accounts import recovery_codes, totp
from kitsu.domain.accounts.account_tokens import revoke_changes
from kitsu.domain.accounts.admin_sessions import IDLE_TIME
from kitsu.domain.accounts.deactivation import MAY_SIGN_IN, Deactivation, bring_back, deactivate
from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.new_users import insert_user, valid_email
from kitsu.domain.accounts.notices import notify, notify_new_device
from kitsu.domain.accounts.passkeys import known_credentials
from kitsu.domain.accounts.passwords import NO_PASSWORD, check_length, check_new
from kitsu.domain.accounts.permissions import PERMISSIONS
from kitsu.domain.accounts.registration import admit_registration, check_registration
from kitsu.domain.accounts.sessions import Device, Tokens
from kitsu.domain.accounts.users import UserService, keep_an_administrator
from kitsu.domain.accounts.verification import EmailNotVerified, send_verification
from kitsu.domain.concurrency import released_slot
from kitsu.errors import BadRequest, Forbidden, InvalidRequest, SecondFactorRequired, Unauthorized

log = structlog.get_logger("kitsu.security")

CREDENTIALS = select(
    User.id,
    User.password_hash,
    MAY_SIGN_IN.label("may_sign_in"),
    User.role,
    User.email_verified_at.is_not(None).label("email_verified"),
)
_BY_EMAIL = CREDENTIALS.where(func.lower(User.email) == func.lower(bindparam("subject")))
_BY_ID = CREDENTIALS.where(User.id == bindparam("subject", type_=Uuid))


class PasswordMissing(
    BadRequest, message="Set a password first: the account has none. POST /auth/password/forgot sends a link"
):
    """The account was made by a sign-in with a provider, and has no password that could be proved."""


class AccountService(UserService):
    """Registers and logs in users; changes and deletes their accounts, for which they prove the password."""

    async def register(self, email: str, password: str, device: Device, invitation: str | None = None) -> Tokens:
        """Create an account and start a session.

        Raises BadRequest when the e-mail is taken or the invitation is not valid, InvalidRequest, and the errors of
        `check_registration`.
        """
        check_registration(self._context, invitation)
        address, password_hash = await self._new_credentials(email, password)
        is_verified = await admit_registration(self._session, self._context, address, invitation)
        user = await insert_user(self._session, address, password_hash, "user", is_verified=is_verified)
        if not is_verified:
            await send_verification(self._session, self._context.session_rules.secret_key, user)
            if self._context.require_verified_email:
                await self._session.commit()
                log.info("user registered", user_id=str(user.id))
                raise EmailNotVerified
        tokens = await self._sessions.start(user.id, device)
        await self._session.commit()
        log.info("user registered", user_id=str(user.id))
        return tokens

    async def login(self, email: str, password: str, device: Device) -> Tokens:
        """Start a session. Raises Unauthorized for any wrong credentials, RateLimited, InvalidRequest.

        Raises SecondFactorRequired for right ones of a user with a second factor.
        """
        with self._context.logins.counted():
            return await self.admit(await self._credentials(email, password, device), device)

    async def admit(self, found: Any, device: Device) -> Tokens:
        """Start a session of an active user who has proved to be this user, in any way. `found`: the credentials.

        Raises EmailNotVerified, SecondFactorRequired.
        """
        if self._context.require_verified_email and not found["email_verified"]:
            await self._session.commit()
            raise EmailNotVerified
        await self._require_second_factor(found)
        return await self._start(found, device)

    async def _require_second_factor(self, found: Any) -> None:
        """Raise SecondFactorRequired for a user with a second factor."""
        # Since the password was checked the user may have set one up, and the hash may be a new one. Changes wait.
        query = select(User.password_hash, User.second_factor_since).where(User.id == found["id"])
        user = (await self._session.execute(query.with_for_update(key_share=True))).one_or_none()
        if user is None:
            raise Unauthorized
        if user.second_factor_since is None:
            return
        methods = {
            "totp": await totp.confirmed_since(self._session, found["id"]) is not None,
            "passkey": bool(await known_credentials(self._session, found["id"])),
            "recovery_code": await recovery_codes.remaining(self._session, found["id"]) > 0,
        }
        await self._session.commit()
        challenge = self._context.second_factors.challenges.issue(found["id"], user.password_hash)
        raise SecondFactorRequired(challenge, [name for name, is_there in methods.items() if is_there])

    async def _start(self, found: Any, device: Device) -> Tokens:
        await self._context.limiter.hit_on(self._session, "session", str(found["id"]))
        await notify_new_device(self._session, self._context, found["id"], device)
        tokens = await self._sessions.start(found["id"], device)
        is_back = await bring_back(self._session, found["id"])
        await self._session.commit()
        self._log_login(found, is_back=is_back)
        return tokens

    async def login_to_admin(self, email: str, password: str, device: Device) -> str:
        """Start a session of the admin site, and return its cookie. Raises as `login`; Forbidden without permission."""
        with self._context.logins.counted():
            found = await self._credentials(email, password, device)
            if "edit:catalogue" not in PERMISSIONS[found["role"]]:
                await self._session.commit()
                raise Forbidden
            await self._require_second_factor(found)
            return await self._start_admin(found, device)

    async def _start_admin(self, found: Any, device: Device) -> str:
        await self._context.limiter.hit_on(self._session, "session", str(found["id"]))
        await notify_new_device(self._session, self._context, found["id"], device)
        session_id = await self._sessions.open(found["id"], device, IDLE_TIME)
        is_back = await bring_back(self._session, found["id"])
        await self._session.commit()
        self._log_login(found, is_back=is_back)
        return self._context.admin_tokens.issue(found["id"], session_id)

    def has_passkeys_at(self, origin: str) -> bool:
        """Return whether passkeys work on pages of this origin."""
        return self._context.second_factors.party.serves(origin)

    async def change_password(self, identity: Identity, current: str, new: str, device: Device) -> None:
        """Set a new password and end all other sessions. Raises Unauthorized, RateLimited, InvalidRequest."""
        check_new(new, "new_password", refuse_common=self._context.refuse_common_passwords)
        found = await self._prove(identity, current, "current_password", device)
        if not await self._replace_hash(found, await self._context.hasher.hash(new)):
            raise Unauthorized
        await revoke_changes(self._session, identity.user_id)
        await self._sessions.revoke_all(identity.user_id, "password", but=identity.session_id)
        await notify(self._session, self._context, identity.user_id, "password-changed")
        await self._session.commit()
        log.info("password changed", user_id=str(identity.user_id))

    async def leave(self, identity: Identity, password: str, device: Device) -> None:
        """Delete the account with all its rows. Raises Unauthorized, RateLimited, BadRequest, InvalidRequest."""
        await self._prove(identity, password, "password", device)
        await self.remove(identity.user_id, by=identity.user_id)

    async def deactivate(self, identity: Identity, password: str, device: Device) -> Deactivation:
        """Deactivate the account until its owner signs in again; later a job deletes it. End all sessions.

        Raises as `leave`.
        """
        await self._prove(identity, password, "password", device)
        await keep_an_administrator(self._session, identity.user_id)
        await self._locked(identity.user_id)
        deletion_at = await deactivate(self._session, identity.user_id)
        await self._sessions.revoke_all(identity.user_id, "account")
        await self._session.commit()
        log.info("account deactivated", user_id=str(identity.user_id))
        return Deactivation(deletion_at)

    @staticmethod
    def _log_login(found: Any, *, is_back: bool) -> None:
        log.info("login succeeded", user_id=str(found["id"]))
        if is_back:
            log.info("account restored", user_id=str(found["id"]))

    async def _prove(self, identity: Identity, password: str, field: str, device: Device) -> Any:
        """Verify the password of a signed-in user, whose browser may be unattended. Return the credentials.

        Raises Unauthorized, RateLimited, InvalidRequest, PasswordMissing.
        """
        check_length(password, field)
        stored = await self._context.runner.row(_BY_ID, {"subject": identity.user_id})
        if stored is not None and stored["password_hash"] == NO_PASSWORD:
            raise PasswordMissing
        found, _ = await self._verify(_BY_ID, identity.user_id, password, device, "password check failed")
        await self._session.commit()
        return found

    async def _credentials(self, email: str, password: str, device: Device) -> Any:
        """Return the credentials of the user with this e-mail and password. Raises as `login`."""
        check_length(password, "password")
        try:
            address = valid_email(email)
        except InvalidRequest:
            address = email.strip().lower()
        found, new_hash = await self._verify(_BY_EMAIL, address, password, device, "login failed")
        if new_hash:
            await self._replace_hash(found, new_hash)
        return found

    async def _verify(
        self, lookup: Executable, subject: str | UUID, password: str, device: Device, event: str
    ) -> tuple[Any, str | None]:
        """Return the credentials, and a new hash if the stored one is outdated. Raises Unauthorized, RateLimited.

        Each attempt is counted under the subject before the check; a right password does not count.
        """
        started = time.monotonic()
        found = await self._context.runner.row(lookup, {"subject": subject})
        limits = self._context.login_limits
        async with limits.attempt(str(subject), found["id"] if found else None, device.ip) as attempt:
            verdict = await self._context.hasher.check(password, found["password_hash"] if found else None)
            attempt.is_right = found is not None and found["may_sign_in"] and verdict.right
        if not attempt.is_right:
            log.warning(event, user_id=str(found["id"]) if found else None)
            with released_slot():
                await asyncio.sleep(max(0.0, self._context.refusal_seconds - (time.monotonic() - started)))
            raise Unauthorized
        return found, verdict.new_hash

    async def _replace_hash(self, found: Any, new_hash: str) -> bool:
        """Return whether the hash was replaced: not if another request has replaced it."""
        statement = update(User).where(User.id == found["id"], User.password_hash == found["password_hash"])
        return (await execute_core(self._session, statement.values(password_hash=new_hash))).rowcount == 1
