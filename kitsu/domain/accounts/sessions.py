"""Sessions: a device that is signed in, kept so by refresh tokens of which each is used once.

A token that is used a second time was stolen, or its first use was: the session ends for both. Two tabs that refresh at
the same moment are told apart from that by a few seconds of leeway, and by being the very last token before.
"""

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import digest
from secrets import token_urlsafe
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import ARRAY, BindParameter, DateTime, Interval, Uuid, any_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db.batch_loader import BatchLoader, padded
from kitsu.db.engine import execute_core
from kitsu.db.models import AuthSession, RefreshToken, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens, Claims
from kitsu.domain.accounts.permissions import PERMISSIONS, Permission, Role
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import Forbidden, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

RevokeReason = Literal["logout", "ended", "password", "reuse", "account"]


class Tokens(msgspec.Struct):
    """What a signed-in device holds."""

    access_token: Annotated[str, Meta(description="a JWT, for `Authorization: Bearer`")]
    refresh_token: Annotated[str, Meta(description="opaque; good for one refresh")]
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a word of the protocol


class Session(msgspec.Struct):
    """A device that is signed in."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    user_agent: str | None
    ip: str | None
    current: Annotated[bool, Meta(description="whether it is the one that asks")]


class Device(msgspec.Struct, frozen=True):
    """Where a request comes from."""

    ip: str
    user_agent: str | None


class Identity(msgspec.Struct, frozen=True):
    """Who asks."""

    user_id: UUID
    session_id: UUID
    role: Role

    def may(self, permission: Permission) -> bool:
        """Whether the role has the permission."""
        return permission in PERMISSIONS[self.role]


class SessionRules(msgspec.Struct, frozen=True):
    """How long a session lasts, and what a token used twice is answered."""

    lifetime: timedelta
    leeway: timedelta
    same_child: bool
    """Within the leeway a repeated refresh gets the very same tokens again, instead of 401."""
    secret_key: str


_clock = func.clock_timestamp(type_=DateTime(timezone=True))
_until = _clock + bindparam("lifetime", type_=Interval)
_wanted_hash: BindParameter[str] = bindparam("token_hash")

_session_of_token = select(RefreshToken.session_id).where(RefreshToken.token_hash == _wanted_hash).scalar_subquery()
_LOCK = (
    select(AuthSession.id, AuthSession.user_id, AuthSession.generation, AuthSession.revoked_at, AuthSession.expires_at)
    .where(AuthSession.id == _session_of_token)
    .with_for_update()
)
_TOKEN = select(
    RefreshToken.generation,
    RefreshToken.used_at,
    RefreshToken.expires_at,
    _clock.label("now"),
    select(User.is_active)
    .join(AuthSession, AuthSession.user_id == User.id)
    .where(AuthSession.id == RefreshToken.session_id)
    .scalar_subquery()
    .label("is_active"),
).where(RefreshToken.token_hash == _wanted_hash)
_LOGOUT = (
    update(AuthSession)
    .where(AuthSession.id == _session_of_token, AuthSession.revoked_at.is_(None))
    .values(revoked_at=_clock, revoke_reason="logout")
    .returning(AuthSession.id, AuthSession.user_id)
)
_is_active = (AuthSession.revoked_at.is_(None), AuthSession.expires_at > _clock)
_IDENTITIES: Rows = (
    select(User.id.label("user_id"), AuthSession.id.label("session_id"), User.role)
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.id == any_(bindparam("session_ids", type_=ARRAY(Uuid))), User.is_active.is_(True), *_is_active)
)
_ACTIVE_SESSIONS: Rows = (
    select(*columns_of(Session, AuthSession, current=AuthSession.id == bindparam("session_id", type_=Uuid)))
    .where(AuthSession.user_id == bindparam("user_id", type_=Uuid), *_is_active)
    .order_by(AuthSession.last_used_at.desc(), AuthSession.id.desc())
)


_identity_of = mapper(Identity, _IDENTITIES)
_session_of = mapper(Session, _ACTIVE_SESSIONS)


class SessionReader:
    """Finds the session of an access token, and the sessions of a user."""

    def __init__(self, runner: StatementRunner, access_tokens: AccessTokens) -> None:
        self._runner = runner
        self._access_tokens = access_tokens
        self._identities = BatchLoader(self._identities_of)

    async def identify(self, access_token: str) -> Identity:
        """Return the identity of this access token, in one query at most. Raises Unauthorized."""
        claims: Claims | None = self._access_tokens.read(access_token)
        if claims is None:
            raise Unauthorized
        identity = await self._identities.get(claims.session_id)
        if identity is None or identity.user_id != claims.user_id:
            raise Unauthorized
        return identity

    async def _identities_of(self, session_ids: list[UUID]) -> dict[UUID, Identity]:
        rows = await self._runner.rows(_IDENTITIES, {"session_ids": padded(session_ids)})
        return {row["session_id"]: _identity_of(row) for row in rows}

    async def active_sessions(self, identity: Identity) -> list[Session]:
        """Return the devices on which the user is signed in, last used first."""
        parameters = {"user_id": identity.user_id, "session_id": identity.session_id}
        return [_session_of(row) for row in await self._runner.rows(_ACTIVE_SESSIONS, parameters)]


class SessionService(SQLAlchemyAsyncRepositoryService[AuthSession]):
    """Signs devices in, renews their tokens, and signs them out."""

    class Repository(SQLAlchemyAsyncRepository[AuthSession]):
        """Sessions in the database."""

        model_type = AuthSession

    repository_type = Repository

    def __init__(self, session: AsyncSession, *, access_tokens: AccessTokens, rules: SessionRules) -> None:
        super().__init__(session)
        self._session = session
        self._access_tokens = access_tokens
        self._rules = rules

    async def start(self, user_id: UUID, device: Device) -> Tokens:
        """Sign a device in, in the caller's transaction."""
        session_id = uuid7()
        await execute_core(
            self._session,
            insert(AuthSession).values(
                id=session_id,
                user_id=user_id,
                generation=1,
                expires_at=_until,
                ip=device.ip[:45],
                user_agent=device.user_agent and device.user_agent[:255],
            ),
            {"lifetime": self._rules.lifetime},
        )
        token = token_urlsafe(32)
        await self._store(session_id, 1, token)
        return Tokens(self._access_tokens.issue(user_id, session_id), token)

    async def refresh(self, token: str) -> Tokens:
        """Return new tokens for a refresh token. Raises Unauthorized, and Forbidden for a revoked one."""
        outcome = await self._rotate(token)
        await self._session.commit()
        if isinstance(outcome, Tokens):
            return outcome
        raise outcome

    async def _rotate(self, token: str) -> Tokens | Unauthorized | Forbidden:
        """Return the new tokens, or the error: it is not raised, so that a revoked session is committed."""
        wanted = {"token_hash": _hash(token)}
        session = (await execute_core(self._session, _LOCK, wanted)).one_or_none()
        if session is None:
            return Unauthorized()
        # Read behind the lock: whoever held it may have used this token.
        found = (await execute_core(self._session, _TOKEN, wanted)).one()
        if session.revoked_at is not None:
            return Forbidden()
        if not found.is_active or session.expires_at <= found.now or found.expires_at <= found.now:
            return Unauthorized()
        if found.used_at is not None:
            is_parent = found.generation == session.generation - 1
            if is_parent and found.now - found.used_at <= self._rules.leeway:
                if not self._rules.same_child:
                    return Unauthorized()
                return Tokens(self._access_tokens.issue(session.user_id, session.id), self._child_of(token))
            await self._revoke("reuse", AuthSession.id == session.id)
            log.warning("refresh token reused", user_id=str(session.user_id), session_id=str(session.id))
            return Unauthorized()
        child = self._child_of(token) if self._rules.same_child else token_urlsafe(32)
        await execute_core(
            self._session,
            update(RefreshToken).where(RefreshToken.token_hash == wanted["token_hash"]).values(used_at=_clock),
        )
        await execute_core(
            self._session,
            update(AuthSession)
            .where(AuthSession.id == session.id)
            .values(generation=session.generation + 1, last_used_at=_clock, expires_at=_until),
            {"lifetime": self._rules.lifetime},
        )
        await self._store(session.id, session.generation + 1, child)
        return Tokens(self._access_tokens.issue(session.user_id, session.id), child)

    async def logout(self, token: str) -> None:
        """End the session of this refresh token, if it is one."""
        ended = (await execute_core(self._session, _LOGOUT, {"token_hash": _hash(token)})).one_or_none()
        await self._session.commit()
        if ended is not None:
            log.info("logout", user_id=str(ended.user_id), session_id=str(ended.id))

    async def end(self, identity: Identity, session_id: UUID) -> None:
        """Sign one device of the user out. Raises NotFound when it is not one that is signed in."""
        ended = await self._revoke(
            "ended",
            AuthSession.id == session_id,
            AuthSession.user_id == identity.user_id,
            AuthSession.expires_at > _clock,
        )
        await self._session.commit()
        if not ended:
            raise NotFound("Session not found")

    async def end_others(self, identity: Identity) -> None:
        """Sign out all devices of the user but this one."""
        await self.revoke_all(identity.user_id, "ended", but=identity.session_id)
        await self._session.commit()

    async def revoke_all(self, user_id: UUID, reason: RevokeReason, *, but: UUID | None = None) -> None:
        """End the sessions of a user, in the caller's transaction."""
        others = () if but is None else (AuthSession.id != but,)
        await self._revoke(reason, AuthSession.user_id == user_id, *others)

    async def _revoke(self, reason: RevokeReason, *which: object) -> int:
        statement = update(AuthSession).where(AuthSession.revoked_at.is_(None), *which)  # type: ignore[arg-type] # conditions
        return (await execute_core(self._session, statement.values(revoked_at=_clock, revoke_reason=reason))).rowcount

    async def _store(self, session_id: UUID, generation: int, token: str) -> None:
        await execute_core(
            self._session,
            insert(RefreshToken).values(
                session_id=session_id, generation=generation, token_hash=_hash(token), expires_at=_until
            ),
            {"lifetime": self._rules.lifetime},
        )

    def _child_of(self, token: str) -> str:
        """The token that follows this one, the same each time; only who has the key can tell it."""
        derived = digest(self._rules.secret_key.encode(), b"refresh token after " + token.encode(), "sha256")
        return urlsafe_b64encode(derived).rstrip(b"=").decode()


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
