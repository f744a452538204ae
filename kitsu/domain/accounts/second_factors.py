"""Second factors: their state, and how a user sets them up and removes them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import ExternalIdentity, TotpFactor, User
from kitsu.db.models import Passkey as PasskeyRow
from kitsu.domain.accounts import recovery_codes, totp
from kitsu.domain.accounts.challenges import INVALID, spend
from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.notices import notify, send_notice
from kitsu.domain.accounts.passkeys import (
    Passkey,
    add_passkey,
    known_credentials,
    passkeys_of,
    remove_passkey,
    remove_passkeys,
)
from kitsu.domain.accounts.second_step import WRONG_CODE, typed, use_factor
from kitsu.domain.accounts.sessions import Device
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.webauthn import NewCredential, PasskeyChallenge
from kitsu.domain.admin_log import log_action
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, Conflict, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")


class SecondFactor(msgspec.Struct):
    """The second factors of a user."""

    since: Annotated[datetime | None, described("Since when a login needs a second factor; null: it needs none.")]
    totp_since: Annotated[datetime | None, described("Since when the user has TOTP, or null.")]
    recovery_codes: Annotated[int, described("The number of unused recovery codes.", 10)]
    passkeys: Annotated[list[Passkey], described("The passkeys, oldest first.")]


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


RecoveryCodeList = Annotated[
    list[str], described("Each works once, and is shown once.", ["mzxw-6ytb-oi5d-k3tq", "gezd-gnbv-gy3t-qojq"])
]


class RecoveryCodes(msgspec.Struct):
    """New recovery codes. The old ones stop working. No new ones: the old ones are still valid."""

    recovery_codes: RecoveryCodeList


class AddedPasskey(msgspec.Struct):
    """A new passkey, with new recovery codes if it is the first second factor of the user."""

    passkey: Passkey
    recovery_codes: RecoveryCodeList


class SecondFactorService(AccountService):
    """Sets up and removes second factors."""

    async def state(self, user_id: UUID) -> SecondFactor:
        """Return which second factors a user has."""
        since = await self._session.scalar(select(User.second_factor_since).where(User.id == user_id))
        totp_since = await totp.confirmed_since(self._session, user_id)
        left = await recovery_codes.remaining(self._session, user_id)
        return SecondFactor(since, totp_since, left, await passkeys_of(self._session, user_id))

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
        await self._context.limiter.hit_on(self._session, "second-factor", str(user.id))
        if not await self._context.second_factors.vault.use(self._session, user.id, typed(code), confirms=True):
            await self._session.commit()  # the attempt counts
            raise BadRequest(f"{WRONG_CODE}, or TOTP was not started")
        await self._context.limiter.forget(self._session, "second-factor", str(user.id))
        codes = await self._added(user)
        await self._commit(user, "TOTP was set up.")
        return RecoveryCodes(codes)

    async def remove_totp(self, identity: Identity, password: str, device: Device) -> None:
        """Remove TOTP. Raises Unauthorized, RateLimited, and NotFound without it."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if not await totp.remove(self._session, user.id):
            raise NotFound("TOTP is not set up")
        await _clear_without_factor(self._session, user)
        await self._commit(user, "TOTP was removed.")

    async def start_passkey(self, identity: Identity, password: str, device: Device) -> PasskeyChallenge:
        """Return what a browser needs to make a passkey. Raises Unauthorized, RateLimited."""
        found = await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        rules = self._context.second_factors
        challenge = rules.new_passkeys.issue(user.id, found["password_hash"])
        known = await known_credentials(self._session, user.id)
        return PasskeyChallenge(challenge, rules.party.creation_options(challenge, user.id, user.email, known))

    async def add_passkey(
        self, identity: Identity, challenge: str, name: str, credential: NewCredential
    ) -> AddedPasskey:
        """Store a new passkey, which counts from now on. Raises InvalidPasskey, TakenPasskey, Unauthorized."""
        rules = self._context.second_factors
        read = rules.new_passkeys.read(challenge)
        user = await self._locked(identity.user_id)
        if read.user_id != user.id:
            raise Unauthorized(INVALID)
        rules.new_passkeys.check(read, user.password_hash)
        added = await add_passkey(self._session, rules.party, user.id, name, challenge, credential)
        await spend(self._session, read)
        codes = await self._added(user)
        await self._commit(user, "A passkey was added.")
        return AddedPasskey(added, codes)

    async def remove_passkey(self, identity: Identity, passkey_id: UUID, password: str, device: Device) -> None:
        """Remove a passkey. Raises Unauthorized, RateLimited, NotFound."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if not await remove_passkey(self._session, user.id, passkey_id):
            raise NotFound("Passkey not found")
        await _clear_without_factor(self._session, user)
        await self._commit(user, "A passkey was removed.")

    async def renew_recovery_codes(
        self, identity: Identity, password: str, code: str | None, device: Device
    ) -> RecoveryCodes:
        """Replace the recovery codes. Raises Unauthorized for a wrong password or code, RateLimited, BadRequest.

        Users without TOTP need no code: they may have lost all recovery codes, and a passkey shows none.
        """
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if code is not None or await totp.confirmed_since(self._session, user.id) is not None:
            await use_factor(self._session, self._context, user.id, code or "", "")
        elif user.second_factor_since is None:
            raise BadRequest("There is no second factor: set one up first")
        codes = await recovery_codes.replace(self._session, user.id)
        await self._commit(user, "New recovery codes were made.")
        return RecoveryCodes(codes)

    async def turn_off(self, identity: Identity, password: str, device: Device) -> None:
        """Remove all second factors of a user, who need not have one. Raises Unauthorized, RateLimited."""
        await self._prove(identity, password, "password", device)
        user = await self._locked(identity.user_id)
        if user.second_factor_since is not None:
            await _clear(self._session, user)
            await self._commit(user, "It was turned off.")

    async def reset(self, user_id: UUID, *, by: UUID) -> None:
        """Remove all second factors of a user, as `reset_second_factors`. Raises NotFound."""
        await reset_second_factors(self._session, user_id, by=by, notifies=self._context.notify_security_events)

    async def _added(self, user: User) -> list[str]:
        """Let the factors of a locked user count. Return the recovery codes that come with the first one."""
        if user.second_factor_since is not None:
            return []
        user.second_factor_since = datetime.now(UTC)
        await self._session.flush()
        return await recovery_codes.replace(self._session, user.id)

    async def _commit(self, user: User, change: str) -> None:
        await notify(self._session, self._context, user.id, "second-factor-changed", change=change)
        await self._session.commit()
        log.info("second factor changed", user_id=str(user.id), change=change)


async def reset_second_factors(session: AsyncSession, user_id: UUID | None, *, by: UUID | None, notifies: bool) -> None:
    """Remove all second factors of a user, who has lost them, and say so by mail if `notifies`.

    Raises NotFound. `by`: see `log_action`.
    """
    user = await session.scalar(select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise NotFound("User not found")
    await _clear(session, user)
    await log_action(session, by, "second factor reset", user.username, user.id)
    change = "An administrator turned it off."
    if notifies:
        await send_notice(session, user.id, "second-factor-changed", change=change)
    await session.commit()
    log.info("second factor changed", user_id=str(user.id), change=change)


async def _clear_without_factor(session: AsyncSession, user: User) -> None:
    """Turn the second step of a locked user's login off when no factor is left, in the caller's transaction."""
    has_totp = await totp.confirmed_since(session, user.id) is not None
    if not has_totp and not await known_credentials(session, user.id):
        await _clear(session, user)


async def remove_ways_since(session: AsyncSession, user: User, token_id: UUID) -> None:
    """Remove the second factors and the links of providers that a locked user added after a token was issued.

    In the caller's transaction.
    """
    # Ids of version 7 are in the order of their times, and begin with the milliseconds.
    time = datetime.fromtimestamp((token_id.int >> 80) / 1000, UTC)
    new = (
        delete(ExternalIdentity).where(ExternalIdentity.user_id == user.id, ExternalIdentity.id > token_id),
        delete(PasskeyRow).where(PasskeyRow.user_id == user.id, PasskeyRow.id > token_id),
        delete(TotpFactor).where(TotpFactor.user_id == user.id, TotpFactor.created_at > time),
    )
    for statement in new:
        await execute_core(session, statement)
    await _clear_without_factor(session, user)


async def _clear(session: AsyncSession, user: User) -> None:
    """Remove all second factors of a locked user, in the session's transaction."""
    user.second_factor_since = None
    await session.flush()
    await totp.remove(session, user.id)
    await recovery_codes.remove(session, user.id)
    await remove_passkeys(session, user.id)
