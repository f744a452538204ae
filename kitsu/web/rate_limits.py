"""Rate limits by client address, declared at the handler."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from kitsu.domain.rate_limits import RateLimiter, network_of


def rate_limited(policy: str) -> Guard:
    """Return a guard that counts the requests of an address under a policy. It raises RateLimited."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        limiter: RateLimiter = connection.app.state.parts[RateLimiter]
        await limiter.hit(policy, network_of(connection.client.host if connection.client else ""))

    return guard
