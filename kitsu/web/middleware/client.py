"""Where a request comes from: the client's address and scheme, through the proxies that are trusted to tell; whether
the client is still there, and whether there is room for what it sends.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import structlog
from litestar.di import Provide
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from kitsu.domain.accounts.sessions import Device
from kitsu.domain.concurrency import released_slot
from kitsu.domain.rate_limits import plain_address
from kitsu.errors import ClientGone, RequestTimeout, ServiceUnavailable
from kitsu.web.request import header

Networks = tuple[IPv4Network | IPv6Network, ...]

SMALL_BODY_BYTES = 64 * 1024
"""Bytes of a body that are nothing to a worker."""
LARGE_BODY_BUDGET_BYTES = 64 * 1024 * 1024
"""Bytes of larger bodies that a worker holds at once. Handlers copy them, some twice."""

DRAIN_SECONDS = 1.0
"""How long a response waits for the rest of a small body that no handler has read."""
BODILESS = {"GET", "HEAD", "OPTIONS"}
"""Methods whose requests have no body to wait for."""
REJECTED = "kitsu_rejected"
"""Key in the scope of a request whose body is not worth reading: a rejection has to be cheap."""

log = structlog.get_logger("kitsu.load")

_RAW_BYTE = re.compile(rb"[^\x00-\x7f]")


class Client:
    """Puts the real address and scheme in the scope. Without trusted proxies the headers are anybody's word."""

    def __init__(self, app: ASGIApp, trusted_proxies: tuple[str, ...], body_seconds: float) -> None:
        """`body_seconds` is how long a client may take to send its request."""
        self._app = app
        self._body_seconds = body_seconds
        self._room = LARGE_BODY_BUDGET_BYTES
        self._trusted: Networks = tuple(ip_network(network) for network in trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if not scope["query_string"].isascii():
            # curl and old browsers send letters beyond ASCII without percent-encoding. Litestar takes them for Latin-1.
            scope["query_string"] = _RAW_BYTE.sub(lambda found: b"%%%02X" % found[0][0], scope["query_string"])
        peer = scope.get("client")
        if self._trusted and peer is not None and _is_in(peer[0], self._trusted):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", "").split(",")]
            scope["client"] = (_nearest_untrusted(hops, self._trusted) or peer[0], 0)
            if headers.get(b"x-forwarded-proto") in {"http", "https"}:
                scope["scheme"] = headers[b"x-forwarded-proto"]
        body = _Body(receive, self._body_seconds, self._hold)

        async def send_behind_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_whole and REJECTED not in scope:
                await body.drain()
            await send(message)

        try:
            await self._app(scope, body.receive, send if scope.get("method") in BODILESS else send_behind_body)
        finally:
            self._room += body.held

    def _hold(self, size: int) -> bool:
        if size > self._room:
            return False
        self._room -= size
        return True


def provide_device(scope: Scope) -> Device:
    """Return the device that a request comes from."""
    agent = header(scope, b"user-agent")
    client = scope.get("client")
    return Device(ip=client[0] if client else "", user_agent=agent.decode("latin-1") if agent else None)


DEVICE = {"client_device": Provide(provide_device, sync_to_thread=False)}
"""The dependency of handlers that need the client's device."""


class _Body:
    """What a client sends."""

    __slots__ = ("_ends_at", "_hold", "_receive", "_seconds", "_size", "held", "is_whole")

    def __init__(self, receive: Receive, seconds: float, hold: Callable[[int], bool]) -> None:
        """It may take so long; `hold` says whether there is room for so many bytes more of it."""
        self._receive = receive
        self._seconds = seconds
        self._hold = hold
        self._ends_at: float | None = None
        self.is_whole = False
        self._size = 0
        self.held = 0
        """Bytes that room was taken for, until the request is answered."""

    async def receive(self) -> ReceiveMessage:
        """The next message. Raises ClientGone when the client hangs up within its request, RequestTimeout when it takes
        too long to send it, ServiceUnavailable when others have sent too much already.

        Litestar would take the first for a bug, wait for the second for ever, and the third would end the worker.
        """
        if self.is_whole:
            return await self._receive()
        if self._ends_at is None:
            self._ends_at = asyncio.get_running_loop().time() + self._seconds
        try:
            with released_slot():
                async with asyncio.timeout_at(self._ends_at):
                    message = await self._receive()
        except TimeoutError:
            raise RequestTimeout from None
        if message["type"] == "http.request":
            self.is_whole = not message.get("more_body", False)
            self._keep(len(message.get("body", b"")))
        elif message["type"] == "http.disconnect":
            raise ClientGone
        return message

    async def drain(self) -> None:
        """Read what is left of a small body: the server closes the connection of one that is not read, and the client
        may see that before the response.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.is_whole and self._size <= SMALL_BODY_BYTES:
                    message: Any = await self._receive()
                    self.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
                    self._size += len(message.get("body", b""))

    def _keep(self, size: int) -> None:
        self._size += size
        if self._size > SMALL_BODY_BYTES:
            more = self._size - self.held
            if not self._hold(more):
                log.warning("too many large bodies at once")
                raise ServiceUnavailable
            self.held += more


def _nearest_untrusted(hops: list[str], trusted: Networks) -> str | None:
    """Each proxy adds the one before it at the right; the first that is no proxy of ours is the client."""
    for hop in reversed(hops):
        try:
            ip_address(hop)
        except ValueError:
            return None
        if not _is_in(hop, trusted):
            return hop
    return None


@lru_cache(maxsize=4096)
def _is_in(address: str, networks: Networks) -> bool:
    try:
        ip = plain_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks if network.version == ip.version)
