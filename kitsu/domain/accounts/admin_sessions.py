"""Sessions of the admin site: a cookie with a token of its own purpose, which ends when it is not used."""

import time
from datetime import timedelta

from sqlalchemy import Uuid, bindparam, select, update

from kitsu.db.models import AuthSession, User
from kitsu.db.replicas import reads_primary
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.ended_sessions import CLOCK, IS_ACTIVE
from kitsu.domain.accounts.identities import IS_RESTRICTED, Identity
from kitsu.domain.mapping import Rows, mapper
from kitsu.errors import Unauthorized

IDLE_MINUTES = 30
IDLE_TIME = timedelta(minutes=IDLE_MINUTES)
RENEWAL_SECONDS = 60
"""The age at which a token is replaced, with one write."""


class AdminIdentity(Identity, frozen=True):
    """The user and the session of a request to the admin site."""

    username: str


_is_active = (
    AuthSession.user_id == bindparam("user_id", type_=Uuid),
    AuthSession.id == bindparam("session_id", type_=Uuid),
    *IS_ACTIVE,
)
_IDENTITY: Rows = (
    select(User.id.label("user_id"), AuthSession.id.label("session_id"), User.role, IS_RESTRICTED, User.username)
    .join(User, AuthSession.user_id == User.id)
    .where(User.is_active.is_(True), *_is_active)
)
_RENEW = (
    update(AuthSession)
    .where(*_is_active)
    .values(last_used_at=CLOCK, expires_at=CLOCK + IDLE_TIME)
    .returning(AuthSession.id)
)
_identity_of = mapper(AdminIdentity, _IDENTITY)


def admin_tokens(secret_key: str, algorithm: str) -> AccessTokens:
    """Return the tokens of the admin site, which the API refuses, as the site refuses those of the API."""
    return AccessTokens(secret_key=secret_key, algorithm=algorithm, minutes=IDLE_MINUTES, purpose="admin")


class AdminSessions:
    """Identifies the users of the admin site."""

    def __init__(self, runner: StatementRunner, tokens: AccessTokens, *, require_second_factor: bool) -> None:
        self._runner = runner
        self._is_required = require_second_factor
        self._tokens = tokens

    async def identify(self, token: str) -> AdminIdentity:
        """Return the identity of a token. Raises Unauthorized if the session has ended."""
        claims = self._tokens.read(token)
        parameters = {"user_id": claims.user_id, "session_id": claims.session_id, "is_required": self._is_required}
        row = await self._runner.row(_IDENTITY, parameters)
        if row is None:
            raise Unauthorized
        reads_primary.set(True)  # an editor sees each change at once
        identity: AdminIdentity = _identity_of(row)
        return identity

    async def renewed(self, token: str, identity: AdminIdentity) -> str | None:
        """Prolong a session that is in use, and return its next token. Return None while the token is new."""
        is_new = self._tokens.read(token).expires_at - time.time() > IDLE_MINUTES * 60 - RENEWAL_SECONDS
        own = {"user_id": identity.user_id, "session_id": identity.session_id}
        if is_new or await self._runner.write(_RENEW, own) is None:
            return None
        return self._tokens.issue(identity.user_id, identity.session_id)
