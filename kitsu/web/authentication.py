"""Who asks, and whether they may: the JWT guard and what handlers name in their `opt` for it.

A handler that names something costs one query at most; all others serve guests and cost none. Litestar's `guards` would
cost a request a copy of its handler each, and a thread unless they are coroutines.
"""

from collections.abc import Callable
from typing import Any

from litestar.types import Scope

from kitsu.domain.accounts.permissions import Permission
from kitsu.domain.accounts.sessions import Identity, SessionService
from kitsu.errors import Forbidden, Unauthorized
from kitsu.observability.logs import of_request

Guard = Callable[[Identity | None], None]


class Authentication:
    """Finds out who asks, and has the guard of the handler judge."""

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def check(self, scope: Scope) -> None:
        """Put the Identity of a bearer token in `scope["user"]`, None for a guest, and its user in the log lines.

        Raises Unauthorized, Forbidden.
        """
        scope["user"] = None
        guard: Guard | None = scope["route_handler"].opt.get("guard")
        if guard is None:
            return
        bearer = _bearer_token(scope)
        identity = None if bearer is None else await self._sessions.identify(bearer)
        guard(identity)
        if identity is not None:
            scope["user"] = identity
            of_request.set({**of_request.get(), "by": str(identity.user_id)})


def _signed_in(identity: Identity | None) -> None:
    if identity is None:
        raise Unauthorized


def _anybody(_: Identity | None) -> None:
    pass


LOGIN_REQUIRED: dict[str, Any] = {"guard": _signed_in}
"""Whoever is signed in."""
GUESTS_TOO: dict[str, Any] = {"guard": _anybody}
"""Anybody; but whoever is signed in is known, and a token that is none is refused."""


def requires(permission: Permission) -> dict[str, Any]:
    """Whoever is signed in with a role that has the permission."""

    def guard(identity: Identity | None) -> None:
        if identity is None:
            raise Unauthorized
        if not identity.may(permission):
            raise Forbidden

    return {"guard": guard}


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
