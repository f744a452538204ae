"""Conditional requests: an `ETag` on what the catalogue answers, and 304 to whoever has it already."""

from hashlib import blake2b

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

# May be kept by browsers and CDNs, and is asked for again each time: an editor's change shows at once, for a 304.
CACHE_CONTROL = b"public, no-cache"


class ConditionalGet(ASGIMiddleware):
    """Marks a 200 with a hash of its body, or answers 304 when the client sent that hash."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        start: HTTPResponseStartEvent | None = None

        async def send_marked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200:
                    start = message
                    return
            elif message["type"] == "http.response.body" and start is not None:
                # Litestar sends an encoded body whole, in one message.
                etag = b'"' + blake2b(message["body"], digest_size=12).hexdigest().encode() + b'"'
                headers = [*start["headers"], (b"etag", etag), (b"cache-control", CACHE_CONTROL)]
                if has_tag(scope, etag):
                    headers = [pair for pair in headers if pair[0] not in {b"content-length", b"content-type"}]
                    await send({"type": "http.response.start", "status": 304, "headers": headers})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send(message)

        await next_app(scope, receive, send_marked)


def has_tag(scope: Scope, etag: bytes) -> bool:
    """Whether the client's `If-None-Match` names this tag."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            known = (part.strip().removeprefix(b"W/") for part in value.split(b","))
            if any(part in {b"*", etag} for part in known):
                return True
    return False
