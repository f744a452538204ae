"""Second factors: their state, how a user sets them up and removes them, and the second step of a login."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import User
from kitsu.domain.accounts import recovery_codes, totp
from kitsu.domain.accounts.administrators import find_user_id
from kitsu.domain.accounts.challenges import spend
from kitsu.domain.accounts.deactivation import MAY_SIGN_IN
from kitsu.domain.accounts.notices import notify
from kitsu.domain.accounts.permissions import PERMISSIONS
from kitsu.domain.accounts.sessions import Device, Identity, Tokens
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.admin_log import log_action
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, Conflict, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

WRONG_CODE = "The code is wrong or was used before"
_USER = (
    select(User.id, User.password_hash, MAY_SIGN_IN.label("may_sign_in"), User.role)
    .where(User.id == bindparam("user_id", type_=Uuid))
    # A change of the password or of the factors waits. Not FOR SHARE: the login of a deactivated user updates the row.
    .with_for_update(key_share=True)
)


class SecondFactor(msgspec.Struct):
    """The second factors of a user."""

    since: Annotated[datetime | None, described("Since when a login needs a second factor; null: it needs none.")]
    totp_since: Annotated[datetime | None, described("Since when the user has TOTP, or null.")]
    recovery_codes: Annotated[int, described("The number of unused recovery codes.", 10)]


class TotpSetUp(msgspec.Struct):
    """What an authenticator app needs. It is shown once."""

    secret: Annotated[str, described("The secret in base32.", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")]
    uri: Annotated[
        str,
        described(
            "The URI for a QR code.",
            "otpauth://totp/Kitsu:kaguya%40example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Kitsu",
        ),
    ]


class RecoveryCodes(msgspec.Struct):
    """New recovery codes. They are shown once, and the old ones stop working."""

    recovery_codes: Annotated[list[str], described("Each works once.", ["mzxw-6ytb-oi5d-k3tq", "gezd-gnbv-gy3t-qojq"])]


class SecondFactorService(AccountService):
    """Sets up and removes second factors, and finishes logins with them."""

    async def state(self, user_id: UUID) -> SecondFactor:
        """Return which second factors a user has."""
        since = await self._session.scalar(select(User.second_factor_since).where(User.id == user_id))
        totp_since = await totp.confirmed_since(self._session, user_id)
        return SecondFactor(since, totp_since, await recovery_codes.remaining(self._session, user_id))

    async def start_totp(self, identity: Identity, password: str, device: Device) -> TotpSetUp:
        """Store a new secret, which counts once it is confirmed. Raises Conflict if the user has TOTP, Unauthorized."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if await totp.confirmed_since(self._session, user.id) is not None:
            raise Conflict("TOTP is set up already: remove it first")
        rules = self._context.second_factors
        secret = await rules.vault.start(self._session, user.id)
        await self._session.commit()
        return TotpSetUp(secret, totp.otpauth_uri(secret, user.email, rules.issuer))

    async def confirm_totp(self, identity: Identity, code: str) -> RecoveryCodes:
        """Let TOTP count from now on. Raises BadRequest for a wrong code, RateLimited."""
        user = await self._locked(identity.user_id)
        await self._context.limiter.hit("second-factor", str(user.id))
        if not await self._context.second_factors.vault.use(self._session, user.id, _typed(code), confirms=True):
            raise BadRequest(f"{WRONG_CODE}, or TOTP was not started")
        await self._context.limiter.forget(self._session, "second-factor", str(user.id))
        return await self._added(user, "TOTP was set up.")

    async def renew_recovery_codes(self, identity: Identity, password: str, code: str, device: Device) -> RecoveryCodes:
        """Replace the recovery codes. Raises Unauthorized for a wrong password or code, RateLimited."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        await self._use_code(user.id, code)
        return await self._added(user, "New recovery codes were made.")

    async def turn_off(self, identity: Identity, password: str, device: Device) -> None:
        """Remove all second factors of a user, who need not have one. Raises Unauthorized, RateLimited."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if user.second_factor_since is not None:
            await self._note(user.id, "It was turned off.")
        await _clear(self._session, user)
        await self._session.commit()

    async def finish_login(self, challenge: str, code: str, device: Device) -> Tokens:
        """Start a session after the second step of a login. Raises Unauthorized, RateLimited."""
        with self._context.logins.counted():
            return await self._start(await self._answer(challenge, code), device)

    async def finish_admin_login(self, challenge: str, code: str, device: Device) -> str:
        """Start a session of the admin site after the second step, and return its cookie. Raises as `finish_login`."""
        with self._context.logins.counted():
            found = await self._answer(challenge, code)
            if "edit:catalogue" not in PERMISSIONS[found["role"]]:
                raise Unauthorized
            return await self._start_admin(found, device)

    async def reset(self, user_id: UUID, *, by: UUID) -> None:
        """Remove all second factors of a user, who has lost them. Raises NotFound. `by`: see `log_action`."""
        await _clear(self._session, user := await self._locked(user_id))
        await log_action(self._session, by, "second factor reset", user.username, user.id)
        await self._note(user.id, "An administrator turned it off.")
        await self._session.commit()

    async def _answer(self, text: str, code: str) -> Any:
        """Return the credentials of the user who answers a challenge with a code, and use both up."""
        challenges = self._context.second_factors.challenges
        challenge = challenges.read(text)
        found = (await execute_core(self._session, _USER, {"user_id": challenge.user_id})).mappings().one_or_none()
        if found is None or not found["may_sign_in"]:
            raise Unauthorized
        challenges.check(challenge, found["password_hash"])
        await self._use_code(found["id"], code)
        await spend(self._session, challenge)
        return found

    async def _use_code(self, user_id: UUID, code: str) -> None:
        """Use a code of TOTP or a recovery code up. Raises Unauthorized, RateLimited.

        Each attempt is counted for the account before the check. A right code takes it back.
        """
        await self._context.limiter.hit("second-factor", str(user_id))
        typed = _typed(code)
        is_right = await self._context.second_factors.vault.use(self._session, user_id, typed)
        if not is_right and not await recovery_codes.use(self._session, user_id, typed):
            log.warning("second factor failed", user_id=str(user_id))
            raise Unauthorized(WRONG_CODE)
        await self._context.limiter.forget(self._session, "second-factor", str(user_id))

    async def _added(self, user: User, change: str) -> RecoveryCodes:
        """Commit a new factor of a locked user, with new recovery codes."""
        if user.second_factor_since is None:
            user.second_factor_since = datetime.now(UTC)
        await self._session.flush()
        codes = await recovery_codes.replace(self._session, user.id)
        await self._note(user.id, change)
        await self._session.commit()
        return RecoveryCodes(codes)

    async def _note(self, user_id: UUID, change: str) -> None:
        await notify(self._session, self._context, user_id, "second-factor-changed", change=change)
        log.info("second factor changed", user_id=str(user_id), change=change)


async def remove_second_factor(engine: AsyncEngine, email: str) -> None:
    """Remove all second factors of the user with this e-mail, for a command. Raises NotFound."""
    user_id = await find_user_id(engine, email)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        user = await session.scalar(select(User).where(User.id == user_id).with_for_update())
        if user is None:
            raise NotFound("User not found")
        await _clear(session, user)
        await log_action(session, None, "second factor reset", user.username, user.id)
        await session.commit()
    log.info("second factor changed", user_id=str(user_id), change="A command turned it off.")


async def _clear(session: AsyncSession, user: User) -> None:
    """Remove all second factors of a locked user, in the session's transaction."""
    user.second_factor_since = None
    await session.flush()
    await totp.remove(session, user.id)
    await recovery_codes.remove(session, user.id)


def _typed(code: str) -> str:
    """Return a code without the blanks that apps show between its digits."""
    return "".join(code.split())
