"""The guards of handlers: permissions, and rate limits by client address.

Put them on handlers: Litestar's OPTIONS handlers inherit those of controllers. They are coroutines: plain functions
run in a thread.
"""

from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.permissions import Permission
from kitsu.domain.rate_limits import RateLimiter, network_of
from kitsu.errors import AppError, Forbidden, RateLimited, Unauthorized


def raises(*errors: type[AppError]) -> Callable[[Guard], Guard]:
    """Declare the errors that a guard raises, for the API description of its handlers."""

    def declare(guard: Any) -> Guard:
        guard.errors = errors
        return guard  # type: ignore[no-any-return] # a function has any attribute

    return declare


def check_permission(identity: Identity, permission: Permission) -> None:
    """Raise Forbidden for a user without a permission, or without the second factor that it requires."""
    if identity.waits_for(permission):
        raise Forbidden("This needs a second factor: set it up with POST /auth/second-factor/totp")
    if not identity.may(permission):
        raise Forbidden


def requires(permission: Permission) -> Guard:
    """Return a guard that requires a permission. It raises Unauthorized and Forbidden."""

    @raises(Forbidden)
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if not isinstance(identity, Identity):
            raise Unauthorized
        check_permission(identity, permission)

    return guard


WRITES = [requires("write:content")]
"""The guards of a handler that changes what a viewer keeps."""
EDITS = [requires("edit:catalogue")]
"""The guards of a handler for editors of the catalogue."""


def rate_limited(policy: str) -> Guard:
    """Return a guard that limits the requests of a client address by a policy. It raises RateLimited."""

    @raises(RateLimited)
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        limiter: RateLimiter = connection.app.state.parts[RateLimiter]
        await limiter.hit(policy, network_of(connection.client.host if connection.client else ""))

    return guard
