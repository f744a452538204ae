"""Streamed responses: sent in small pieces, a limited number at once, to clients that read them."""

import asyncio
from collections import Counter

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from kitsu.errors import ServiceUnavailable

PIECE_BYTES = 8 * 1024
"""Granian buffers about nine pieces of a response whose client reads nothing, whatever their size."""
PIECE_TIMEOUT_SECONDS = 20
"""How long a client may take to make room for a piece. It is shorter than the kernel's limit, which logs nothing."""
MAX_STREAMS = 256
"""Streamed responses of a worker at once, for users and for guests each: guests can't keep users from their exports."""

log = structlog.get_logger("kitsu.load")


class StreamMiddleware(ASGIMiddleware):
    """Bounds the memory of streamed responses, which are those with more than one body message.

    A stream beyond MAX_STREAMS gets 503. A client that reads nothing for PIECE_TIMEOUT_SECONDS gets no more: the
    response stays incomplete, and the connection is closed.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self) -> None:
        self._open: Counter[bool] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        response = _Response(scope, send, self._open)
        try:
            await next_app(scope, receive, response.send)
        except Exception:  # Litestar's streams raise groups
            if response.is_refused:
                raise ServiceUnavailable from None
            if not response.is_late:
                raise
            # Granian closes the connection of a response without an end.
            log.warning("response interrupted", reason="client_timeout", route=scope.get("path_template"))
        finally:
            response.close()


class _Response:
    """One response, which may turn out to be a stream."""

    __slots__ = ("_is_guest", "_is_stream", "_open", "_scope", "_send", "_start", "is_late", "is_refused")

    def __init__(self, scope: Scope, send: Send, open_streams: Counter[bool]) -> None:
        self._scope = scope
        self._send = send
        self._open = open_streams
        self._start: HTTPResponseStartEvent | None = None
        self._is_guest = self._is_stream = False
        self.is_refused = False
        """Whether there were too many streams."""
        self.is_late = False
        """Whether the client read nothing for too long."""

    async def send(self, message: Message) -> None:
        """Send a message: the start together with the first piece, before which a stream can become a 503."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        is_piece = message.get("more_body", False)
        if self._start is not None:
            if is_piece:
                self._open_stream()
            start, self._start = self._start, None
            await self._send(start)
        if is_piece:
            await self._send_pieces(message["body"])
        else:
            await self._send(message)

    def close(self) -> None:
        """Let another stream begin."""
        if self._is_stream:
            self._open[self._is_guest] -= 1

    def _open_stream(self) -> None:
        self._is_guest = self._scope.get("user") is None
        if self._open[self._is_guest] >= MAX_STREAMS:
            self.is_refused = True
            raise ServiceUnavailable
        self._open[self._is_guest] += 1
        self._is_stream = True

    async def _send_pieces(self, body: bytes) -> None:
        try:
            for begin in range(0, len(body), PIECE_BYTES):
                piece = body[begin : begin + PIECE_BYTES]
                async with asyncio.timeout(PIECE_TIMEOUT_SECONDS):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            self.is_late = True
            raise
