"""Streamed responses: their bodies, and the limits of their number and of the time and size of a piece."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.errors import ServiceUnavailable

STREAM_BYTES = 64 * 1024  # larger responses are streamed: a whole one stays in memory until the client has read it
PIECE_BYTES = 8 * 1024
"""Granian buffers about nine pieces of a response whose client reads nothing, whatever their size."""
PIECE_TIMEOUT_SECONDS = 20
"""How long a client may take for a piece. It is less than READ_TIMEOUT_SECONDS of the kernel, which logs nothing."""
MAX_STREAMS = 128
"""Streams at once in a worker, for each route: clients that read nothing of one route must not block the others."""

log = structlog.get_logger("kitsu.load")


class StreamMiddleware(ASGIMiddleware):
    """Limits the memory of responses with more than one body message; their handlers have `middleware=[STREAMED]`.

    Requests beyond MAX_STREAMS of a route get 503. The response to a client that reads too slowly stays incomplete.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
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
        except Exception:  # Litestar's streams raise exception groups
            if not is_late:
                raise
            # Without its end the response breaks the connection; `web/connections.py` limits how long that takes.
            log.warning("response interrupted", reason="client_timeout", route=route)
        finally:
            self._open[route] -= 1


STREAMED = StreamMiddleware()  # the one instance, since it counts the streams of a process


async def start_stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Make the first piece of a body, and return all of them.

    An error of the first piece is raised here, so it becomes a response. A later error breaks the connection.
    """
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_pieces()


async def stream_bytes(data: bytes) -> AsyncIterator[bytes]:
    """Yield data that several responses share as one piece, which StreamMiddleware cuts."""
    yield data
