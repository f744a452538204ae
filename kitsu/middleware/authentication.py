"""Who asks, and whether they may: the JWT guard middleware and the guards that controllers name.

The middleware works for handlers that have a guard, and costs them one query; all others serve guests and cost none.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Guard, Receive, Scope, Send

from kitsu.domain.permissions import Permission
from kitsu.domain.sessions import Identity, SessionService
from kitsu.errors import Forbidden, Unauthorized
from kitsu.logs import of_request

Connection = ASGIConnection[Any, Any, Any, Any]


class Authentication(ASGIMiddleware):
    """Puts the Identity of a bearer token in `scope["user"]`, None for a guest, and its user in the log lines."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        identity = None
        if scope["route_handler"].resolve_guards():
            bearer = _bearer_token(scope)
            identity = None if bearer is None else await self._sessions.identify(bearer)
        scope["user"] = identity
        if identity is None:
            await next_app(scope, receive, send)
            return
        token = of_request.set({**of_request.get(), "by": str(identity.user_id)})
        try:
            await next_app(scope, receive, send)
        finally:
            of_request.reset(token)


def login_required(connection: Connection, _: BaseRouteHandler) -> None:
    """Whoever is signed in."""
    if connection.scope["user"] is None:
        raise Unauthorized


def guests_too(_: Connection, __: BaseRouteHandler) -> None:
    """Anybody; but whoever is signed in is known, and a token that is none is refused."""


def requires(permission: Permission) -> Guard:
    """Whoever is signed in with a role that has the permission."""

    def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        login_required(connection, handler)
        if not connection.scope["user"].may(permission):
            raise Forbidden

    return guard


def provide_viewer(scope: Scope) -> Identity | None:
    """Whoever is signed in, None for a guest, in a handler that has a guard."""
    viewer = scope["user"]
    return viewer if isinstance(viewer, Identity) else None


def provide_identity(scope: Scope) -> Identity:
    """The identity, in a handler that has a guard."""
    identity = scope["user"]
    if not isinstance(identity, Identity):
        raise Unauthorized
    return identity


def _bearer_token(scope: Scope) -> str | None:
    """The token of the `Authorization` header, None without one. Raises Unauthorized for a header of another form."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthorized
            return token.strip()
    return None
