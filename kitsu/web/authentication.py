"""Authentication: handlers and mounted applications require an access token unless their `opt` says otherwise."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from kitsu.domain.accounts.identities import SessionReader
from kitsu.errors import Unauthorized
from kitsu.observability.logs import of_request
from kitsu.web.request import body_owner, header

PUBLIC: dict[str, Any] = {"public": True}
"""`opt` of a handler that is open to all clients: it ignores the token."""
GUESTS: dict[str, Any] = {"guests": True}
"""`opt` of a handler that guests may use: `request.user` is None without a token, and a bad token gets 401."""
LENIENT: dict[str, Any] = GUESTS | {"lenient": True}
"""`opt` of a handler that guests may use, with a bad token too: `request.user` is None then."""


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Puts the Identity of the bearer token in `request.user`, and adds the user to the log lines."""

    def __init__(self, app: ASGIApp, sessions: SessionReader) -> None:
        super().__init__(app, exclude_from_auth_key="public")
        self._sessions = sessions

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Identify the client, with one query at most. Raises Unauthorized."""
        value = header(connection.scope, b"authorization")
        opt = connection.route_handler.opt
        if value is None and opt.get("guests"):
            return AuthenticationResult(user=None, auth=None)
        scheme, _, token = (value or b"").decode("latin-1").partition(" ")
        try:
            identity = await self._sessions.identify(token.strip() if scheme.lower() == "bearer" else "")
        except Unauthorized:
            if opt.get("lenient"):
                return AuthenticationResult(user=None, auth=None)
            raise
        of_request.set({**of_request.get(), "by": str(identity.user_id)})
        body_owner.set(identity.user_id)
        return AuthenticationResult(user=identity, auth=token.strip())
