"""Sessions: devices that are signed in, by refresh tokens each of which is used once.

A second use means that the token was stolen, so the session is revoked. The parent of the newest token is an exception
while that is unused: the response may have been lost, or two tabs may refresh at the same moment.
"""

from datetime import timedelta
from secrets import token_urlsafe
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import Integer, Interval, Row, String, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from uuid_utils.compat import uuid7

from kitsu.db.engine import execute_core
from kitsu.db.models import AuthSession, RefreshToken, User
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.ended_sessions import CLOCK, RevokeReason, limit_sessions, revoke_sessions
from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.opaque_tokens import derive_token, hash_token
from kitsu.domain.admin_log import log_action
from kitsu.domain.fields import described
from kitsu.errors import Forbidden, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

RefreshTokenText = Annotated[str, described("Valid for one refresh.", "kB3v9Qm1Zt7yXw5LhRk2Pd8sUaEj4NfCgVo6Ti0bMxY")]


class Tokens(msgspec.Struct):
    """The tokens of a session."""

    access_token: Annotated[str, described("A JWT, the bearer token.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl")]
    refresh_token: RefreshTokenText
    expires_in: Annotated[int, described("The seconds for which the access token is valid.", 1800)]
    token_type: Annotated[Literal["bearer"], described("The scheme of the access token.")] = "bearer"  # noqa: S105 - a word of the protocol


class Device(msgspec.Struct, frozen=True):
    """The client of a request."""

    ip: str
    user_agent: str | None


class SessionRules(msgspec.Struct, frozen=True):
    """The lifetime of a session, and the response to a repeated refresh."""

    lifetime: timedelta
    same_child: bool  # while the newest token is unused, a repeated refresh gets it again; else 401 within the leeway
    leeway: timedelta
    secret_key: str
    max_sessions: int  # active ones of a user, and as many ended ones
    max_tokens: int  # refresh tokens of a session that have not expired


_has_hash = RefreshToken.token_hash == bindparam("hash")
_OWNER = select(RefreshToken.user_id, RefreshToken.session_id).where(_has_hash)
_owner: Any = bindparam("owner", type_=Uuid)
_session_id: Any = bindparam("of_session", type_=Uuid)
_is_session = (AuthSession.user_id == _owner, AuthSession.id == _session_id)
_LOCK = (
    select(AuthSession.id, AuthSession.user_id, AuthSession.generation, AuthSession.revoked_at, AuthSession.expires_at)
    .where(*_is_session)
    .with_for_update()
)
_of_session = aliased(RefreshToken)
_oldest = select(func.min(_of_session.generation)).where(
    _of_session.user_id == _owner, _of_session.session_id == _session_id
)
_is_token = (RefreshToken.user_id == _owner, _has_hash)
_TOKEN = (
    select(RefreshToken.generation, RefreshToken.used_at, RefreshToken.expires_at, CLOCK.label("now"), User.is_active)
    .add_columns(_oldest.scalar_subquery().label("oldest"))
    .join(User, User.id == RefreshToken.user_id)
    .where(*_is_token)
)
_next: Any = bindparam("next_generation", type_=Integer)
_end: Any = CLOCK + bindparam("lifetime", type_=Interval)
_used = update(RefreshToken).where(*_is_token).values(used_at=CLOCK).returning(RefreshToken.generation).cte("used")
_prolonged = (
    update(AuthSession)
    .where(*_is_session)
    .values(generation=_next, last_used_at=CLOCK, expires_at=_end)
    .returning(AuthSession.id)
    .cte("prolonged")
)
_child_hash = bindparam("child_hash", type_=String)
_child = {"user_id": _owner, "session_id": _session_id, "generation": _next, "token_hash": _child_hash}
_ROTATE = insert(RefreshToken).values(**_child, expires_at=_end).add_cte(_used, _prolonged)
_IS_UNUSED = select(func.count()).where(*_is_token, RefreshToken.used_at.is_(None))


class SessionService(SQLAlchemyAsyncRepositoryService[AuthSession]):
    """Starts, refreshes and ends sessions."""

    class Repository(SQLAlchemyAsyncRepository[AuthSession]):
        model_type = AuthSession

    repository_type = Repository

    def __init__(self, session: AsyncSession, *, access_tokens: AccessTokens, rules: SessionRules) -> None:
        super().__init__(session)
        self._session = session
        self._access_tokens = access_tokens
        self._rules = rules

    async def start(self, user_id: UUID, device: Device) -> Tokens:
        """Start a session, in the caller's transaction."""
        session_id = await self.open(user_id, device, self._rules.lifetime)
        token = token_urlsafe(32)
        statement = insert(RefreshToken).values(
            user_id=user_id,
            session_id=session_id,
            generation=1,
            token_hash=hash_token(token),
            expires_at=CLOCK + self._rules.lifetime,
        )
        await execute_core(self._session, statement)
        return self._tokens(user_id, session_id, token)

    async def open(self, user_id: UUID, device: Device, lifetime: timedelta) -> UUID:
        """Insert a session without tokens, in the caller's transaction, and return its id."""
        session_id = uuid7()
        statement = insert(AuthSession).values(
            id=session_id,
            user_id=user_id,
            generation=1,
            expires_at=CLOCK + lifetime,
            ip=device.ip[:45],
            user_agent=device.user_agent and device.user_agent[:255],
        )
        await execute_core(self._session, statement)
        await limit_sessions(self._session, user_id, self._rules.max_sessions)
        return session_id

    async def refresh(self, token: str) -> Tokens:
        """Return new tokens for a refresh token. Raises Unauthorized.

        Raises Forbidden for a revoked session, and when this one is revoked since it has too many tokens.
        """
        owner = await self._owner_of(token)
        if owner is None:
            raise Unauthorized
        parameters = {"owner": owner.user_id, "of_session": owner.session_id}
        session = (await execute_core(self._session, _LOCK, parameters)).one_or_none()
        if session is None:
            raise Unauthorized
        if session.revoked_at is not None:
            raise Forbidden
        # Read after the lock: the transaction that held it may have used this token.
        parameters |= {"hash": hash_token(token)}
        found = (await execute_core(self._session, _TOKEN, parameters)).one()
        if not found.is_active or session.expires_at <= found.now or found.expires_at <= found.now:
            raise Unauthorized
        child = self._child_of(token) if self._rules.same_child else token_urlsafe(32)
        if found.used_at is not None:
            # The newest token is unused: its use would have made a newer one.
            is_parent_of_newest = found.generation == session.generation - 1
            # It may have been made while the other rule was set.
            of_child = {"owner": session.user_id, "hash": hash_token(child)}
            if is_parent_of_newest and await self._session.scalar(_IS_UNUSED, of_child):
                return self._tokens(session.user_id, session.id, child)
            if is_parent_of_newest and found.now - found.used_at <= self._rules.leeway:
                raise Unauthorized
            await revoke_sessions(self._session, "reuse", session.user_id, AuthSession.id == session.id)
            await self._session.commit()
            log.warning("refresh token reused", user_id=str(session.user_id), session_id=str(session.id))
            raise Unauthorized
        if session.generation - found.oldest >= self._rules.max_tokens:
            await self._end_overused(session)
            raise Forbidden
        new = {"next_generation": session.generation + 1, "child_hash": hash_token(child)}
        await execute_core(self._session, _ROTATE, {**parameters, **new, "lifetime": self._rules.lifetime})
        await self._session.commit()
        return self._tokens(session.user_id, session.id, child)

    async def _end_overused(self, session: Any) -> None:
        # Used tokens are stored to notice their reuse, so the oldest ones can't be deleted while the session goes on.
        await revoke_sessions(self._session, "limit", session.user_id, AuthSession.id == session.id)
        of_session = (RefreshToken.user_id == session.user_id, RefreshToken.session_id == session.id)
        await execute_core(self._session, delete(RefreshToken).where(*of_session, RefreshToken.used_at.is_not(None)))
        await self._session.commit()
        log.warning("refresh limit reached", user_id=str(session.user_id), session_id=str(session.id))

    async def logout(self, token: str) -> None:
        """End the session of a refresh token. An unknown token is ignored."""
        owner = await self._owner_of(token)
        if owner is None:
            return
        wanted = AuthSession.id == owner.session_id
        ended = (await revoke_sessions(self._session, "logout", owner.user_id, wanted)).one_or_none()
        await self._session.commit()
        if ended is not None:
            log.info("session ended", user_id=str(owner.user_id), session_id=str(ended.id))

    async def _owner_of(self, token: str) -> Row[Any] | None:
        """Return the user and the session of a refresh token."""
        return (await execute_core(self._session, _OWNER, {"hash": hash_token(token)})).one_or_none()

    async def end(self, user_id: UUID, session_id: UUID, *, by: UUID | None = None) -> None:
        """End a session of a user; `by` is the administrator who ends it. Raises NotFound unless it is active."""
        wanted = (AuthSession.id == session_id, AuthSession.expires_at > CLOCK)
        ended = (await revoke_sessions(self._session, "ended", user_id, *wanted)).one_or_none()
        if ended is not None and by is not None:
            name = await self._session.scalar(select(User.username).where(User.id == user_id))
            await log_action(self._session, by, "session ended", name or "", user_id)
        await self._session.commit()
        if ended is None:
            raise NotFound("Session not found")

    async def end_others(self, identity: Identity) -> None:
        await self.revoke_all(identity.user_id, "ended", but=identity.session_id)
        await self._session.commit()

    async def revoke_all(self, user_id: UUID, reason: RevokeReason, *, but: UUID | None = None) -> None:
        """End the sessions of a user, in the caller's transaction."""
        await revoke_sessions(self._session, reason, user_id, AuthSession.id.is_distinct_from(but))

    def _tokens(self, user_id: UUID, session_id: UUID, refresh_token: str) -> Tokens:
        access_tokens = self._access_tokens
        return Tokens(access_tokens.issue(user_id, session_id), refresh_token, access_tokens.seconds)

    def _child_of(self, token: str) -> str:
        """Return the next refresh token, always the same one. It can't be derived without the secret key."""
        return derive_token(self._rules.secret_key, f"refresh token after {token}")
