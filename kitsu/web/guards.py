"""The guards of the handlers: permissions, and rate limits by client address.

Put them on handlers: Litestar's own OPTIONS handlers inherit the guards of a controller. They are coroutines, since
Litestar runs a plain function in a thread.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from kitsu.domain.accounts.permissions import Permission
from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.rate_limits import RateLimiter, network_of
from kitsu.errors import AppError, Forbidden, RateLimited, Unauthorized


def requires(permission: Permission) -> Guard:
    """Return a guard for clients whose role has the permission. It raises Unauthorized and Forbidden."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if not isinstance(identity, Identity):
            raise Unauthorized
        if not identity.may(permission):
            raise Forbidden

    return _declaring(guard, Forbidden)


def rate_limited(policy: str) -> Guard:
    """Return a guard that counts the requests of an address under a policy. It raises RateLimited."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        limiter: RateLimiter = connection.app.state.parts[RateLimiter]
        await limiter.hit(policy, network_of(connection.client.host if connection.client else ""))

    return _declaring(guard, RateLimited)


def _declaring(guard: Any, *errors: type[AppError]) -> Guard:
    """Return the guard with the errors that it raises, which `/openapi.json` lists for its handlers."""
    guard.errors = errors
    return guard  # type: ignore[no-any-return] # a function has any attribute
