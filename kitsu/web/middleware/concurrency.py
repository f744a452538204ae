"""What to do when more is asked than can be answered: refuse most of it at once, and serve the rest as ever."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send

from kitsu.domain.concurrency import ConcurrencyLimiter
from kitsu.errors import ErrorBody, ServiceUnavailable
from kitsu.web.middleware.cors import VARY, CorsHeaders
from kitsu.web.middleware.request_log import HEADER, request_id
from kitsu.web.middleware.security_headers import ALWAYS, HSTS, NO_STORE

UNLIMITED_PATHS = ("/health", "/metrics", "/docs", "/openapi.json", "/media/")
"""What begins so. Who watches must not take a busy service for one that is gone; the others need no database."""
LOG_INTERVAL_SECONDS = 1.0
"""How often the log is told of refusals, while there are any."""

log = structlog.get_logger("kitsu.load")

_BODY = msgspec.json.encode(ErrorBody(ServiceUnavailable.code, ServiceUnavailable.message, None))
_HEADERS = (
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    *((name.lower().encode(), value.encode()) for name, value in ServiceUnavailable.headers.items()),
    VARY,
    *ALWAYS,
    NO_STORE,
)


class ConcurrencyLimit:
    """Lets requests in as there are turns, and refuses the others.

    A refusal costs a fiftieth of an answer, as long as nothing else is done for it: not even its log line.
    """

    def __init__(
        self,
        app: ASGIApp,
        turns: ConcurrencyLimiter,
        cors_headers: Mapping[bytes, CorsHeaders],
        is_at_hand: Callable[[HTTPScope], bool],
    ) -> None:
        """Requests whose answer `is_at_hand` need no turn; `marks` are for the pages of other origins."""
        self._app = app
        self._turns = turns
        self._cors_headers = cors_headers
        self._is_at_hand = is_at_hand
        self._told = 0
        self._is_telling = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if (
            scope["type"] != ScopeType.HTTP
            or scope["path"].startswith(UNLIMITED_PATHS)
            or scope["method"] == "OPTIONS"  # of a preflight that is refused a browser tells its page nothing
            or self._is_at_hand(scope)
        ):
            await self._app(scope, receive, send)
            return
        if not await self._turns.take():
            if not self._is_telling:
                self._is_telling = True
                asyncio.get_running_loop().call_later(LOG_INTERVAL_SECONDS, self._tell)
            await self._refuse(scope, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.end()

    def _tell(self) -> None:
        log.warning("too many requests at once", refused=self._turns.refused - self._told)
        self._told = self._turns.refused
        self._is_telling = False

    async def _refuse(self, scope: Scope, send: Send) -> None:
        headers = [*_HEADERS, (HEADER, request_id(scope))]
        for name, value in scope["headers"]:
            if name == b"origin":
                headers += self._cors_headers.get(value, ())
        if scope["scheme"] == "https":
            headers.append(HSTS)
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 503, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": _BODY, "more_body": False})
