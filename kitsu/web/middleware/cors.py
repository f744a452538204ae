"""Cross-origin requests. Litestar's own layer answers a refused preflight in plain text and overwrites `Vary`."""

from collections.abc import Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Receive, Scope, Send

EXPOSED = b"ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, X-Total-Count, X-Updated-Until"
METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
PREFLIGHT_SECONDS = b"600"


CorsHeaders = tuple[tuple[bytes, bytes], ...]
VARY = (b"vary", b"Origin")


def cors_headers_by_origin(origins: tuple[str, ...]) -> Mapping[bytes, CorsHeaders]:
    """What an answer says to the pages of each origin that may read it."""
    return {
        origin.encode(): (
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
        )
        for origin in origins
    }


class Cors:
    """Lets the browser pages of the allowed origins read the answers, with credentials."""

    def __init__(self, app: ASGIApp, cors_headers: Mapping[bytes, CorsHeaders]) -> None:
        self._app = app
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or let the request through and tell the layers around how to mark its answer."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        cors_headers = self._cors_headers.get(origin, ()) if origin is not None else ()

        if scope["method"] == "OPTIONS" and origin is not None and b"access-control-request-method" in headers:
            await self._answer_preflight(cors_headers, headers, send)
            return

        scope["marks"] = (VARY, *cors_headers)  # type: ignore[typeddict-unknown-key] # Kitsu's own
        await self._app(scope, receive, send)

    async def _answer_preflight(self, cors_headers: CorsHeaders, headers: dict[bytes, bytes], send: Send) -> None:
        answer = [(b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")]
        if cors_headers:
            method = headers[b"access-control-request-method"]
            answer += [
                *cors_headers[:2],
                (b"access-control-allow-methods", METHODS if method in METHODS.split(b", ") else method),
                (b"access-control-max-age", PREFLIGHT_SECONDS),
            ]
            # With credentials a browser takes `*` for a header of that name, so the wanted ones are named.
            if wanted := headers.get(b"access-control-request-headers"):
                answer.append((b"access-control-allow-headers", wanted))
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 204, "headers": answer}
        await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
