"""Cross-origin requests. Litestar's own layer answers a refused preflight in plain text and overwrites `Vary`."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

EXPOSED = b"ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, X-Total-Count, X-Updated-Until"
METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
PREFLIGHT_SECONDS = b"600"


class Cors:
    """Lets the browser pages of the allowed origins read the answers, with credentials."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or let the request through and mark its answer."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        allowed = origin if origin in self._origins else None

        if scope["method"] == "OPTIONS" and origin is not None and b"access-control-request-method" in headers:
            await self._answer_preflight(allowed, headers, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marks = [(b"vary", b"Origin")]
                if allowed is not None:
                    marks += [
                        (b"access-control-allow-origin", allowed),
                        (b"access-control-allow-credentials", b"true"),
                        (b"access-control-expose-headers", EXPOSED),
                    ]
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        await self._app(scope, receive, send_marked)

    async def _answer_preflight(self, allowed: bytes | None, headers: dict[bytes, bytes], send: Send) -> None:
        answer = [(b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")]
        if allowed is not None:
            method = headers[b"access-control-request-method"]
            answer += [
                (b"access-control-allow-origin", allowed),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-allow-methods", METHODS if method in METHODS.split(b", ") else method),
                (b"access-control-max-age", PREFLIGHT_SECONDS),
            ]
            # With credentials a browser takes `*` for a header of that name, so the wanted ones are named.
            if wanted := headers.get(b"access-control-request-headers"):
                answer.append((b"access-control-allow-headers", wanted))
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 204, "headers": answer}
        await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
