"""Accounts, for their owners: registration, login, a new password, leaving."""

import asyncio
import time
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Uuid, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.emails import normalised
from kitsu.domain.accounts.passwords import check_length, check_new
from kitsu.domain.accounts.sessions import Device, Identity, Tokens
from kitsu.domain.accounts.users import UserService, valid_email
from kitsu.domain.concurrency import released_slot
from kitsu.domain.rate_limits import network_of
from kitsu.errors import RateLimited, Unauthorized

log = structlog.get_logger("kitsu.security")


_user = models.User
_CREDENTIALS = select(_user.id, _user.password_hash, _user.is_active)
_BY_EMAIL = _CREDENTIALS.where(func.lower(_user.email) == func.lower(bindparam("email")))
_BY_ID = _CREDENTIALS.where(_user.id == bindparam("user_id", type_=Uuid))


class AccountService(UserService):
    """What users do with their own accounts."""

    def __init__(self, session: AsyncSession, *, context: AccountContext) -> None:
        super().__init__(session, context=context)
        self._sessions = context.sessions(session)

    async def register(self, email: str, password: str, device: Device) -> Tokens:
        """Make an account and sign the device in. Raises BadRequest when the e-mail is taken, InvalidRequest."""
        address = valid_email(email)
        check_new(password, "password", refuse_common=self._context.refuse_common_passwords)
        user = await self.insert(address, await self._context.hasher.hash(password), "user")
        tokens = await self._sessions.start(user.id, device)
        await self._session.commit()
        log.info("registered", user_id=str(user.id))
        return tokens

    async def login(self, email: str, password: str, device: Device) -> Tokens:
        """Sign a device in. Raises Unauthorized, whatever was wrong, and RateLimited."""
        with self._context.logins.counted():
            return await self._login(email, password, device)

    async def _login(self, email: str, password: str, device: Device) -> Tokens:
        check_length(password, "password")
        started = time.monotonic()
        try:
            address = normalised(email)
        except ValueError:
            address = email.strip().lower()
        found = await self._context.runner.row(_BY_EMAIL, {"email": address})
        guess = await self._count_guess(address, device, found and found["id"])
        verdict = await self._context.hasher.check(password, found["password_hash"] if found else None)
        if found is None or not found["is_active"] or not verdict.right:
            log.warning("login failed", user_id=str(found["id"]) if found else None)
            await self._refuse(started)
        if verdict.new_hash:
            await self._store_hash(found["id"], found["password_hash"], verdict.new_hash)
        await self._take_back(guess, device)
        tokens = await self._sessions.start(found["id"], device)
        await self._session.commit()
        log.info("login", user_id=str(found["id"]))
        return tokens

    async def change_password(self, identity: Identity, current: str, new: str, device: Device) -> None:
        """Set a new password and end every other session. Raises Unauthorized for a wrong one, InvalidRequest."""
        check_new(new, "new_password", refuse_common=self._context.refuse_common_passwords)
        found = await self._prove(identity, current, "current_password", device)
        new_hash = await self._context.hasher.hash(new)
        if not await self._store_hash(identity.user_id, found["password_hash"], new_hash):
            raise Unauthorized
        await self._sessions.revoke_all(identity.user_id, "password", but=identity.session_id)
        await self._session.commit()
        log.info("password changed", user_id=str(identity.user_id))

    async def leave(self, identity: Identity, password: str, device: Device) -> None:
        """Delete the account with all that is stored of it. Raises Unauthorized for a wrong password, BadRequest."""
        await self._prove(identity, password, "password", device)
        await self.remove(identity.user_id)

    async def _prove(self, identity: Identity, password: str, field: str, device: Device) -> Any:
        """Return the credentials when the password is right: a token may come from an unattended browser."""
        check_length(password, field)
        started = time.monotonic()
        guess = await self._count_guess(str(identity.user_id), device, identity.user_id)
        found = await self._context.runner.row(_BY_ID, {"user_id": identity.user_id})
        verdict = await self._context.hasher.check(password, found["password_hash"] if found else None)
        if not verdict.right:
            log.warning("wrong password", user_id=str(identity.user_id))
            await self._refuse(started)
        await self._take_back(guess, device)
        await self._session.commit()
        return found

    async def _count_guess(self, whose: str, device: Device, user_id: UUID | None) -> tuple[str, str]:
        """Count a guess before it is checked; the user is for the log. Raises RateLimited."""
        guess = (whose, network_of(device.ip))
        limiter = self._context.limiter
        try:
            # In this order: a client that is locked out of one account must not lock its address out of all.
            await limiter.hit("login", *guess)
            await limiter.hit("login-address", network_of(device.ip))
        except RateLimited:
            log.warning("locked", user_id=user_id and str(user_id))
            raise
        return guess

    async def _take_back(self, guess: tuple[str, str], device: Device) -> None:
        await self._context.limiter.forget(self._session, "login", *guess)
        await self._context.limiter.refund(self._session, "login-address", network_of(device.ip))

    async def _refuse(self, started: float) -> None:
        with released_slot():
            await asyncio.sleep(max(0.0, self._context.refusal_seconds - (time.monotonic() - started)))
        raise Unauthorized

    async def _store_hash(self, user_id: UUID, old_hash: str, new_hash: str) -> bool:
        """Replace a hash, unless another request has replaced it."""
        statement = update(_user).where(_user.id == user_id, _user.password_hash == old_hash)
        return (await execute_core(self._session, statement.values(password_hash=new_hash))).rowcount == 1
