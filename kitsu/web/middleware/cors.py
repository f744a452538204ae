"""Cross-origin requests.

Litestar's CORSConfig has a plain-text response to a refused preflight, overwrites the `Vary` of responses, and omits
`Vary: Origin` where the origin is not allowed.
"""

from collections.abc import Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

EXPOSED = b"ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, X-Total-Count, X-Updated-Until"
METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
PREFLIGHT_MAX_AGE_SECONDS = b"600"
CorsHeaders = tuple[tuple[bytes, bytes], ...]
VARY = (b"vary", b"Origin")
PREFLIGHT_VARY = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")


def cors_headers_by_origin(origins: tuple[str, ...]) -> Mapping[bytes, CorsHeaders]:
    """Return the response headers for each allowed origin."""
    return {
        origin.encode(): (
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
        )
        for origin in origins
    }


class Cors:
    """Responds to preflights, and lets pages of the allowed origins read responses, with credentials."""

    def __init__(self, app: ASGIApp, cors_headers: Mapping[bytes, CorsHeaders]) -> None:
        self._app = app
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request = dict(scope["headers"])
        cors_headers = self._cors_headers.get(request.get(b"origin", b""), ())
        if scope["method"] == "OPTIONS" and b"origin" in request and b"access-control-request-method" in request:
            start: HTTPResponseStartEvent = {
                "type": "http.response.start",
                "status": 204,
                "headers": [PREFLIGHT_VARY, *_preflight_headers(cors_headers, request)],
            }
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], VARY, *cors_headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _preflight_headers(cors_headers: CorsHeaders, request: Mapping[bytes, bytes]) -> CorsHeaders:
    if not cors_headers:
        return ()
    method = request[b"access-control-request-method"]
    # With credentials `*` is the name of a header, not a wildcard: the response names the requested ones.
    requested = request.get(b"access-control-request-headers")
    return (
        *cors_headers[:2],
        (b"access-control-allow-methods", METHODS if method in METHODS.split(b", ") else method),
        (b"access-control-max-age", PREFLIGHT_MAX_AGE_SECONDS),
        *([(b"access-control-allow-headers", requested)] if requested else []),
    )
