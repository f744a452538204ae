"""Authentication and authorization: the middleware that identifies the client, and the guards of the handlers.

Every handler and every mounted application requires a valid access token unless its `opt` says otherwise.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Guard

from kitsu.domain.accounts.permissions import Permission
from kitsu.domain.accounts.sessions import Identity, SessionReader
from kitsu.errors import Forbidden, Unauthorized
from kitsu.observability.logs import of_request

PUBLIC: dict[str, Any] = {"public": True}
"""`opt` of a handler that is open to everybody: the token is not looked at."""
GUESTS: dict[str, Any] = {"guests": True}
"""`opt` of a handler that guests may use: without a token `request.user` is None, a bad token is refused."""


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Puts the Identity of the bearer token in `request.user`, and adds the user to the log lines."""

    def __init__(self, app: ASGIApp, sessions: SessionReader) -> None:
        super().__init__(app, exclude_from_auth_key="public")
        self._sessions = sessions

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Identify the client, in one query at most. Raises Unauthorized."""
        token = _bearer_token(connection)
        if token is None:
            if connection.route_handler.opt.get("guests"):
                return AuthenticationResult(user=None, auth=None)
            raise Unauthorized
        identity = await self._sessions.identify(token)
        of_request.set({**of_request.get(), "by": str(identity.user_id)})
        return AuthenticationResult(user=identity, auth=token)


def requires(permission: Permission) -> Guard:
    """Return a guard for clients whose role has the permission. It raises Unauthorized and Forbidden.

    Put it on handlers: Litestar's own OPTIONS handlers inherit the guards of a controller.
    """

    # A coroutine, since Litestar runs a plain function in a thread.
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if not isinstance(identity, Identity):
            raise Unauthorized
        if not identity.may(permission):
            raise Forbidden

    return guard


def _bearer_token(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Return the token of the `Authorization` header, None without one. Raises Unauthorized for another form."""
    for name, value in connection.scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthorized
            return token.strip()
    return None
