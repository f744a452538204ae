"""Streamed responses: sent in small pieces, a limited number at once, to clients that read them."""

import asyncio
from collections import Counter

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.errors import ServiceUnavailable

PIECE_BYTES = 8 * 1024
"""Granian buffers about nine pieces of a response whose client reads nothing, whatever their size."""
PIECE_TIMEOUT_SECONDS = 20
"""How long a client may take to make room for a piece. It is shorter than the kernel's limit, which logs nothing."""
MAX_STREAMS = 128
"""Streamed responses of a route at once in a worker. So silent readers of one route leave the others alone."""

log = structlog.get_logger("kitsu.load")


class StreamMiddleware(ASGIMiddleware):
    """Bounds the memory of streamed responses, which are those with more than one body message.

    A handler whose response may be a stream declares `middleware=[STREAMED]`. A request beyond MAX_STREAMS of its route
    gets 503. A client that reads nothing for PIECE_TIMEOUT_SECONDS gets no more: the response stays incomplete.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        route = scope["path_template"]
        if self._open[route] >= MAX_STREAMS:
            raise ServiceUnavailable
        self._open[route] += 1
        is_late = False

        async def send_pieces(message: Message) -> None:
            nonlocal is_late
            if message["type"] != "http.response.body" or not message.get("more_body"):
                await send(message)
                return
            body = message["body"]
            try:
                for begin in range(0, len(body), PIECE_BYTES):
                    piece = body[begin : begin + PIECE_BYTES]
                    async with asyncio.timeout(PIECE_TIMEOUT_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                is_late = True
                raise

        try:
            await next_app(scope, receive, send_pieces)
        except Exception:  # Litestar's streams raise groups
            if not is_late:
                raise
            # The response has no end, so the connection breaks; `web/connections.py` limits how long that takes.
            log.warning("response interrupted", reason="client_timeout", route=route)
        finally:
            self._open[route] -= 1


STREAMED = StreamMiddleware()
"""The one instance of a process, which counts the streams of each route."""
