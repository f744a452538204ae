"""The sessions of requests and of users: who makes a request, and where a user is signed in."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Boolean, Uuid, and_, any_, bindparam, select

from kitsu.db.batch_loader import BatchLoader, padded
from kitsu.db.models import AuthSession, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.ended_sessions import IS_ACTIVE
from kitsu.domain.accounts.permissions import PERMISSIONS, PROTECTED, Permission, Role
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import Unauthorized

UserAgent = Annotated[str, described("The `User-Agent` of the login.", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")]
IpAddress = Annotated[str, described("The IP address of the login.", "203.0.113.7")]


class Session(msgspec.Struct):
    """A device that is signed in."""

    id: UUID
    created_at: Annotated[datetime, described("When the user logged in.")]
    last_used_at: Annotated[datetime, described("When its tokens were last refreshed.")]
    user_agent: UserAgent | None
    ip: IpAddress | None
    current: Annotated[bool, described("Whether it is the session of this request.")]


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


IS_RESTRICTED = and_(bindparam("is_required", type_=Boolean), User.second_factor_since.is_(None)).label("restricted")
"""For an Identity; `is_required` has REQUIRE_ADMIN_SECOND_FACTOR."""
_IDENTITIES: Rows = (
    select(User.id.label("user_id"), AuthSession.id.label("session_id"), User.role, IS_RESTRICTED)
    .join(User, AuthSession.user_id == User.id)
    .where(
        AuthSession.user_id == any_(bindparam("user_ids", type_=ARRAY(Uuid))),
        AuthSession.id == any_(bindparam("session_ids", type_=ARRAY(Uuid))),
        User.is_active.is_(True),
        *IS_ACTIVE,
    )
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
        identity = await self._identities.get((claims.user_id, claims.session_id))
        if identity is None:
            raise Unauthorized
        return identity

    async def _identities_of(self, keys: list[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Identity]:
        user_ids, session_ids = map(list, zip(*padded(keys), strict=True))
        parameters = {"user_ids": user_ids, "session_ids": session_ids, "is_required": self._is_required}
        identities = map(_identity_of, await self._runner.rows(_IDENTITIES, parameters))
        return {(identity.user_id, identity.session_id): identity for identity in identities}

    async def active_sessions(self, user_id: UUID, current_id: UUID) -> list[Session]:
        """Return the active sessions of a user, last used first. `current_id` is that of the request."""
        parameters = {"user_id": user_id, "session_id": current_id}
        return [session_of(row) for row in await self._runner.rows(ACTIVE_SESSIONS, parameters)]
