"""Sessions: devices that are signed in, by refresh tokens each of which is used once.

A second use means that the token was stolen, so the session is revoked. The parent of the newest token is an exception
while that is unused: the response may have been lost, or two tabs may refresh at the same moment.
"""

from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    CursorResult,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from uuid_utils.compat import uuid7

from kitsu.db.batch_loader import BatchLoader, padded
from kitsu.db.engine import execute_core
from kitsu.db.models import AuthSession, RefreshToken, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.ended_sessions import CLOCK, IS_ACTIVE, RevokeReason, limit_sessions, revoke_sessions
from kitsu.domain.accounts.opaque_tokens import derive_token, hash_token
from kitsu.domain.accounts.permissions import PERMISSIONS, PROTECTED, Permission, Role
from kitsu.domain.admin_log import log_action
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import Forbidden, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

RefreshTokenText = Annotated[str, described("Valid for one refresh.", "kB3v9Qm1Zt7yXw5LhRk2Pd8sUaEj4NfCgVo6Ti0bMxY")]
UserAgent = Annotated[str, described("The `User-Agent` of the login.", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")]
IpAddress = Annotated[str, described("The IP address of the login.", "203.0.113.7")]


class Tokens(msgspec.Struct):
    """The tokens of a session."""

    access_token: Annotated[str, described("A JWT, the bearer token.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl")]
    refresh_token: RefreshTokenText
    expires_in: Annotated[int, described("The seconds for which the access token is valid.", 1800)]
    token_type: Annotated[Literal["bearer"], described("The scheme of the access token.")] = "bearer"  # noqa: S105 - a word of the protocol


class Session(msgspec.Struct):
    """A device that is signed in."""

    id: UUID
    created_at: Annotated[datetime, described("When the user logged in.")]
    last_used_at: Annotated[datetime, described("When its tokens were last refreshed.")]
    user_agent: UserAgent | None
    ip: IpAddress | None
    current: Annotated[bool, described("Whether it is the session of this request.")]


class Device(msgspec.Struct, frozen=True):
    """The client of a request."""

    ip: str
    user_agent: str | None


class Identity(msgspec.Struct, frozen=True):
    """The user and the session of a request."""

    user_id: UUID
    session_id: UUID
    role: Role
    restricted: bool
    """Whether permissions of editors and administrators wait until the user has a second factor."""

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS[self.role] and not self.waits_for(permission)

    def waits_for(self, permission: Permission) -> bool:
        """Return whether the user would have a permission with a second factor."""
        return self.restricted and permission in PROTECTED & PERMISSIONS[self.role]


class SessionRules(msgspec.Struct, frozen=True):
    """The lifetime of a session, and the response to a repeated refresh."""

    lifetime: timedelta
    same_child: bool  # while the newest token is unused, a repeated refresh gets it again; else 401 within the leeway
    leeway: timedelta
    secret_key: str
    max_sessions: int  # active ones of a user, and as many ended ones
    max_tokens: int  # refresh tokens of a session that have not expired


_has_hash = RefreshToken.token_hash == bindparam("hash")
_is_of_token = AuthSession.id == select(RefreshToken.session_id).where(_has_hash).scalar_subquery()
_LOCK = (
    select(AuthSession.id, AuthSession.user_id, AuthSession.generation, AuthSession.revoked_at, AuthSession.expires_at)
    .where(_is_of_token)
    .with_for_update()
)
_of_session = aliased(RefreshToken)
_oldest = select(func.min(_of_session.generation)).where(_of_session.session_id == RefreshToken.session_id)
_TOKEN = (
    select(RefreshToken.generation, RefreshToken.used_at, RefreshToken.expires_at, CLOCK.label("now"), User.is_active)
    .add_columns(_oldest.correlate(RefreshToken).scalar_subquery().label("oldest"))
    .join(AuthSession, AuthSession.id == RefreshToken.session_id)
    .join(User, User.id == AuthSession.user_id)
    .where(_has_hash)
)
_IS_UNUSED = select(func.count()).where(_has_hash, RefreshToken.used_at.is_(None))
IS_RESTRICTED = and_(bindparam("is_required", type_=Boolean), User.second_factor_since.is_(None)).label("restricted")
"""For an Identity; `is_required` has REQUIRE_ADMIN_SECOND_FACTOR."""
_IDENTITIES: Rows = (
    select(User.id.label("user_id"), AuthSession.id.label("session_id"), User.role, IS_RESTRICTED)
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.id == any_(bindparam("session_ids", type_=ARRAY(Uuid))), User.is_active.is_(True), *IS_ACTIVE)
)
ACTIVE_SESSIONS: Rows = (
    select(*columns_of(Session, AuthSession, current=AuthSession.id == bindparam("session_id", type_=Uuid)))
    .where(AuthSession.user_id == bindparam("user_id", type_=Uuid), *IS_ACTIVE)
    .order_by(AuthSession.last_used_at.desc(), AuthSession.id.desc())
)
_identity_of = mapper(Identity, _IDENTITIES)
session_of = mapper(Session, ACTIVE_SESSIONS)


class SessionReader:
    """Finds the session of an access token, and the sessions of a user."""

    def __init__(self, runner: StatementRunner, access_tokens: AccessTokens, *, require_second_factor: bool) -> None:
        self._runner = runner
        self._is_required = require_second_factor
        self._access_tokens = access_tokens
        self._identities = BatchLoader(self._identities_of)

    async def identify(self, access_token: str) -> Identity:
        """Return the identity of an access token, in one query at most. Raises Unauthorized."""
        claims = self._access_tokens.read(access_token)
        identity = await self._identities.get(claims.session_id)
        if identity is None or identity.user_id != claims.user_id:
            raise Unauthorized
        return identity

    async def _identities_of(self, session_ids: list[UUID]) -> dict[UUID, Identity]:
        rows = await self._runner.rows(
            _IDENTITIES, {"session_ids": padded(session_ids), "is_required": self._is_required}
        )
        return {row["session_id"]: _identity_of(row) for row in rows}

    async def active_sessions(self, user_id: UUID, current_id: UUID) -> list[Session]:
        """Return the active sessions of a user, last used first. `current_id` is that of the request."""
        parameters = {"user_id": user_id, "session_id": current_id}
        return [session_of(row) for row in await self._runner.rows(ACTIVE_SESSIONS, parameters)]


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
        self._expires_at = CLOCK + rules.lifetime

    async def start(self, user_id: UUID, device: Device) -> Tokens:
        """Start a session, in the caller's transaction."""
        session_id = await self.open(user_id, device, self._rules.lifetime)
        return await self._issue(user_id, session_id, 1, token_urlsafe(32))

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
        by_hash = {"hash": hash_token(token)}
        session = (await execute_core(self._session, _LOCK, by_hash)).one_or_none()
        if session is None:
            raise Unauthorized
        # Read after the lock: the transaction that held it may have used this token.
        found = (await execute_core(self._session, _TOKEN, by_hash)).one()
        if session.revoked_at is not None:
            raise Forbidden
        if not found.is_active or session.expires_at <= found.now or found.expires_at <= found.now:
            raise Unauthorized
        child = self._child_of(token) if self._rules.same_child else token_urlsafe(32)
        if found.used_at is not None:
            # The newest token is unused: its use would have made a newer one.
            is_parent_of_newest = found.generation == session.generation - 1
            # It may have been made while the other rule was set.
            if is_parent_of_newest and await self._session.scalar(_IS_UNUSED, {"hash": hash_token(child)}):
                return self._tokens(session.user_id, session.id, child)
            if is_parent_of_newest and found.now - found.used_at <= self._rules.leeway:
                raise Unauthorized
            await self._revoke("reuse", AuthSession.id == session.id)
            await self._session.commit()
            log.warning("refresh token reused", user_id=str(session.user_id), session_id=str(session.id))
            raise Unauthorized
        if session.generation - found.oldest >= self._rules.max_tokens:
            await self._end_overused(session)
            raise Forbidden
        await execute_core(self._session, update(RefreshToken).where(_has_hash).values(used_at=CLOCK), by_hash)
        generation = session.generation + 1
        statement = update(AuthSession).where(AuthSession.id == session.id)
        values = {"generation": generation, "last_used_at": CLOCK, "expires_at": self._expires_at}
        await execute_core(self._session, statement.values(values))
        tokens = await self._issue(session.user_id, session.id, generation, child)
        await self._session.commit()
        return tokens

    async def _end_overused(self, session: Any) -> None:
        # Used tokens are stored to notice their reuse, so the oldest ones can't be deleted while the session goes on.
        await self._revoke("limit", AuthSession.id == session.id)
        used = (RefreshToken.session_id == session.id, RefreshToken.used_at.is_not(None))
        await execute_core(self._session, delete(RefreshToken).where(*used))
        await self._session.commit()
        log.warning("refresh limit reached", user_id=str(session.user_id), session_id=str(session.id))

    async def logout(self, token: str) -> None:
        """End the session of a refresh token. An unknown token is ignored."""
        ended = (await self._revoke("logout", _is_of_token, hash=hash_token(token))).one_or_none()
        await self._session.commit()
        if ended is not None:
            log.info("session ended", user_id=str(ended.user_id), session_id=str(ended.id))

    async def end(self, user_id: UUID, session_id: UUID, *, by: UUID | None = None) -> None:
        """End a session of a user; `by` is the administrator who ends it. Raises NotFound unless it is active."""
        is_own = (AuthSession.id == session_id, AuthSession.user_id == user_id)
        ended = (await self._revoke("ended", *is_own, AuthSession.expires_at > CLOCK)).one_or_none()
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
        await self._revoke(reason, AuthSession.user_id == user_id, AuthSession.id.is_distinct_from(but))

    async def _revoke(self, reason: RevokeReason, *where: ColumnElement[bool], **parameters: str) -> CursorResult[Any]:
        return await revoke_sessions(self._session, reason, *where, **parameters)

    async def _issue(self, user_id: UUID, session_id: UUID, generation: int, token: str) -> Tokens:
        """Store a refresh token, and return it with an access token."""
        statement = insert(RefreshToken).values(
            session_id=session_id, generation=generation, token_hash=hash_token(token), expires_at=self._expires_at
        )
        await execute_core(self._session, statement)
        return self._tokens(user_id, session_id, token)

    def _tokens(self, user_id: UUID, session_id: UUID, refresh_token: str) -> Tokens:
        access_tokens = self._access_tokens
        return Tokens(access_tokens.issue(user_id, session_id), refresh_token, access_tokens.seconds)

    def _child_of(self, token: str) -> str:
        """Return the next refresh token, always the same one. It can't be derived without the secret key."""
        return derive_token(self._rules.secret_key, f"refresh token after {token}")
