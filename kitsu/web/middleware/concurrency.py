"""The limits of concurrent requests and of their time. Requests beyond them are rejected."""

import asyncio

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.concurrency import ConcurrencyLimiter, RequestDeadline, released_slot
from kitsu.errors import ServiceUnavailable
from kitsu.web.middleware.rejection import Rejection
from kitsu.web.middleware.request_log import HEADER, request_id
from kitsu.web.middleware.response_cache import ResponseCache
from kitsu.web.middleware.response_headers import CorsHeaders

UNLIMITED_PATHS = ("/health", "/metrics", "/docs", "/openapi.json", "/media/")
"""Prefixes of paths. A probe must not take a busy service for a dead one; the others need no database."""
LOG_INTERVAL_SECONDS = 1.0  # how often rejections are logged, while there are any

log = structlog.get_logger("kitsu.load")


class ConcurrencyLimit:
    """Rejects requests that get no slot.

    A rejection has to be cheap: it writes no log line, reads no body, and runs only the layer `Client`.
    """

    def __init__(self, app: ASGIApp, limiter: ConcurrencyLimiter, cache: ResponseCache, cors: CorsHeaders) -> None:
        self._app = app
        self._limiter = limiter
        self._cache = cache
        self._rejection = Rejection(ServiceUnavailable(), cors)
        self._logged = 0
        self._is_log_scheduled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != ScopeType.HTTP
            or scope["path"].startswith(UNLIMITED_PATHS)
            or scope["method"] == "OPTIONS"  # a page can't see the status of a rejected preflight
            or self._cache.has(scope)
        ):
            await self._app(scope, receive, send)
            return
        if not await self._limiter.acquire():
            if not self._is_log_scheduled:
                self._is_log_scheduled = True
                asyncio.get_running_loop().call_later(LOG_INTERVAL_SECONDS, self._log)
            await self._rejection.send(scope, send, (HEADER, request_id(scope)))
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._limiter.finish()

    def _log(self) -> None:
        log.warning("requests rejected", reason="queue_full", count=self._limiter.refused - self._logged)
        self._logged = self._limiter.refused
        self._is_log_scheduled = False


class DeadlineMiddleware(ASGIMiddleware):
    """Raises TimeoutError in a handler whose response has not begun in time. A slow client holds no slot."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        deadline = RequestDeadline(self._seconds)

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start":
                deadline.stop()
            elif message.get("more_body"):
                with released_slot():  # while the client reads this piece of a stream
                    await send(message)
                return
            await send(message)

        with deadline:
            await next_app(scope, receive, send_in_time)
