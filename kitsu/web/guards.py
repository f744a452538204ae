"""The guards of the handlers: permissions, and rate limits by client address.

Put them on handlers: Litestar's own OPTIONS handlers inherit the guards of a controller. They are coroutines, since
Litestar runs a plain function in a thread.
"""

from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from kitsu.domain.accounts.permissions import Permission
from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.rate_limits import RateLimiter, network_of
from kitsu.errors import AppError, Forbidden, RateLimited, Unauthorized


def raises(*errors: type[AppError]) -> Callable[[Guard], Guard]:
    """Return a decorator for a guard that raises these errors: `/openapi.json` lists them for its handlers."""

    def declare(guard: Any) -> Guard:
        guard.errors = errors
        return guard  # type: ignore[no-any-return] # a function has any attribute

    return declare


def requires(permission: Permission) -> Guard:
    """Return a guard for clients whose role has the permission. It raises Unauthorized and Forbidden."""

    @raises(Forbidden)
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if not isinstance(identity, Identity):
            raise Unauthorized
        if not identity.may(permission):
            raise Forbidden

    return guard


def rate_limited(policy: str) -> Guard:
    """Return a guard that counts the requests of an address under a policy. It raises RateLimited."""

    @raises(RateLimited)
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        limiter: RateLimiter = connection.app.state.parts[RateLimiter]
        await limiter.hit(policy, network_of(connection.client.host if connection.client else ""))

    return guard
