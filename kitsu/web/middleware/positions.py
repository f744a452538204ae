"""The position of a client's last write, from which its own lists may be read at a replica."""

import math

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.db.replicas import Replicas, own_position
from kitsu.errors import InvalidRequest
from kitsu.web.request import header

HEADER = b"x-position"
READING = {"GET", "HEAD", "OPTIONS"}
UNKNOWN = 2**63 - 1
"""The position that no replica reaches: the client's lists are read at the primary until its next write."""


class PositionMiddleware(ASGIMiddleware):
    """Sends a client that sends `X-Position` the position after its write, and reads its lists from there on.

    Without the header they are read at the primary, so that each client sees what it wrote.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        sent = header(scope, HEADER)
        own_position.set(math.inf)
        if scope["type"] != ScopeType.HTTP or sent is None:
            await next_app(scope, receive, send)
            return
        position = _parsed(sent)
        if scope["method"] in READING:
            own_position.set(position)
            await next_app(scope, receive, send)
            return

        async def send_with_position(message: Message) -> None:
            if message["type"] == "http.response.start":
                written = await self._replicas.position()
                value = UNKNOWN if written is None else written
                message["headers"] = [*message["headers"], (HEADER, b"%d" % value)]
            await send(message)

        await next_app(scope, receive, send_with_position)


def _parsed(value: bytes) -> int:
    """Return the number in the header. Raises InvalidRequest."""
    if value.isdigit() and len(value) <= 19 and (position := int(value)) <= UNKNOWN:
        return position
    raise InvalidRequest([{"field": "X-Position", "message": "Must be 0, or the X-Position of a response"}])
