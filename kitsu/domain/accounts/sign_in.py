"""Accounts, for their owners: registration, login, a new password, leaving."""

import asyncio
import time
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Uuid, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.emails import normalised
from kitsu.domain.accounts.passwords import PasswordHasher, check_length, check_new
from kitsu.domain.accounts.sessions import Device, Identity, SessionService, Tokens
from kitsu.domain.accounts.users import UserService, insert_user, valid_email
from kitsu.domain.concurrency import released_slot
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.rate_limits import Policy, RateLimiter, network_of
from kitsu.errors import RateLimited, ServiceUnavailable, Unauthorized

log = structlog.get_logger("kitsu.security")


class AccountRules(msgspec.Struct, frozen=True):
    """What is allowed how often, and how long a refusal takes."""

    guesses: Policy
    """Of one account's password from one address."""
    guesses_of_address: Policy
    """Of any account's password from one address."""
    registrations: Policy
    refreshes: Policy
    refusal_seconds: float
    """Every refused login takes so long: how the password is stored, or whether there is one, does not show."""
    refuse_common: bool


_user = models.User
_CREDENTIALS = select(_user.id, _user.password_hash, _user.is_active)
_BY_EMAIL = _CREDENTIALS.where(func.lower(_user.email) == func.lower(bindparam("email")))
_BY_ID = _CREDENTIALS.where(_user.id == bindparam("user_id", type_=Uuid))


class AccountService:
    """What somebody does with an account of their own."""

    def __init__(
        self,
        engine: AsyncEngine,
        runner: StatementRunner,
        hasher: PasswordHasher,
        sessions: SessionService,
        users: UserService,
        limiter: RateLimiter,
        rules: AccountRules,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._transactions = async_sessionmaker(engine, expire_on_commit=False)
        self._hasher = hasher
        self._sessions = sessions
        self._users = users
        self._limiter = limiter
        self._rules = rules
        self.logins = Outcomes("success", wrong=Unauthorized, limited=RateLimited, busy=ServiceUnavailable)

    async def register(self, email: str, password: str, device: Device) -> Tokens:
        """Make an account and sign the device in. Raises BadRequest when the e-mail is taken, InvalidRequest."""
        await self._limiter.hit(self._rules.registrations, network_of(device.ip))
        address = valid_email(email)
        check_new(password, "password", refuse_common=self._rules.refuse_common)
        password_hash = await self._hasher.hash(password)
        async with self._transactions.begin() as session:
            user = await insert_user(session, address, password_hash, "user")
            tokens = await self._sessions.start(await session.connection(), user.id, device)
        log.info("registered", user_id=str(user.id))
        return tokens

    async def login(self, email: str, password: str, device: Device) -> Tokens:
        """Sign a device in. Raises Unauthorized, whatever was wrong, and RateLimited."""
        with self.logins.counted():
            return await self._login(email, password, device)

    async def _login(self, email: str, password: str, device: Device) -> Tokens:
        check_length(password, "password")
        started = time.monotonic()
        try:
            address = normalised(email)
        except ValueError:
            address = email.strip().lower()
        found = await self._runner.row(_BY_EMAIL, {"email": address})
        guess = await self._count_guess(address, device, found and found["id"])
        verdict = await self._hasher.check(password, found["password_hash"] if found else None)
        if found is None or not found["is_active"] or not verdict.right:
            log.warning("login failed", user_id=str(found["id"]) if found else None)
            await self._refuse(started)
        async with self._engine.begin() as connection:
            if verdict.new_hash:
                await _store_hash(connection, found["id"], found["password_hash"], verdict.new_hash)
            await self._take_back(connection, guess, device)
            tokens = await self._sessions.start(connection, found["id"], device)
        log.info("login", user_id=str(found["id"]))
        return tokens

    async def refresh(self, token: str, device: Device) -> Tokens:
        """Trade a refresh token for new ones. Raises Unauthorized, Forbidden, RateLimited."""
        await self._limiter.hit(self._rules.refreshes, network_of(device.ip))
        return await self._sessions.refresh(token)

    async def change_password(self, identity: Identity, current: str, new: str, device: Device) -> None:
        """Set a new password and end every other session. Raises Unauthorized for a wrong one, InvalidRequest."""
        check_new(new, "new_password", refuse_common=self._rules.refuse_common)
        found = await self._prove(identity, current, "current_password", device)
        new_hash = await self._hasher.hash(new)
        async with self._engine.begin() as connection:
            if not await _store_hash(connection, identity.user_id, found["password_hash"], new_hash):
                raise Unauthorized
            await self._sessions.revoke_all(connection, identity.user_id, "password", but=identity.session_id)
        log.info("password changed", user_id=str(identity.user_id))

    async def leave(self, identity: Identity, password: str, device: Device) -> None:
        """Delete the account with all that is stored of it. Raises Unauthorized for a wrong password, BadRequest."""
        await self._prove(identity, password, "password", device)
        await self._users.remove(identity.user_id)

    async def _prove(self, identity: Identity, password: str, field: str, device: Device) -> Any:
        """That whoever asks knows the password, and is not only in front of the owner's open browser."""
        check_length(password, field)
        started = time.monotonic()
        guess = await self._count_guess(str(identity.user_id), device, identity.user_id)
        found = await self._runner.row(_BY_ID, {"user_id": identity.user_id})
        verdict = await self._hasher.check(password, found["password_hash"] if found else None)
        if not verdict.right:
            log.warning("wrong password", user_id=str(identity.user_id))
            await self._refuse(started)
        async with self._engine.begin() as connection:
            await self._take_back(connection, guess, device)
        return found

    async def _count_guess(self, whose: str, device: Device, user_id: UUID | None) -> tuple[str, str]:
        """Count a guess before it is checked; the user is for the log. Raises RateLimited."""
        guess = (whose, network_of(device.ip))
        try:
            # In this order: who is locked out of one account must not lock the whole address out of all.
            await self._limiter.hit(self._rules.guesses, *guess)
            await self._limiter.hit(self._rules.guesses_of_address, network_of(device.ip))
        except RateLimited:
            log.warning("locked", user_id=user_id and str(user_id))
            raise
        return guess

    async def _take_back(self, connection: AsyncConnection, guess: tuple[str, str], device: Device) -> None:
        await self._limiter.forget(connection, self._rules.guesses, *guess)
        await self._limiter.refund(connection, self._rules.guesses_of_address, network_of(device.ip))

    async def _refuse(self, started: float) -> None:
        with released_slot():
            await asyncio.sleep(max(0.0, self._rules.refusal_seconds - (time.monotonic() - started)))
        raise Unauthorized


async def _store_hash(connection: AsyncConnection, user_id: UUID, old_hash: str, new_hash: str) -> bool:
    """Replace a hash, unless somebody else has meanwhile."""
    statement = update(_user).where(_user.id == user_id, _user.password_hash == old_hash)
    return (await connection.execute(statement.values(password_hash=new_hash))).rowcount == 1
