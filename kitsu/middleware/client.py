"""Where a request comes from: the client's address and scheme, through the proxies that are trusted to tell; and
whether the client is still there.
"""

import asyncio
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from kitsu.domain.rate_limits import plain_address
from kitsu.domain.sessions import Device
from kitsu.domain.turns import aside
from kitsu.errors import ClientGone, RequestTimeout

Networks = tuple[IPv4Network | IPv6Network, ...]


class Client:
    """Puts the real address and scheme in the scope. Without trusted proxies the headers are anybody's word."""

    def __init__(self, app: ASGIApp, trusted_proxies: tuple[str, ...], body_seconds: float) -> None:
        """`body_seconds` is how long a client may take to send its request."""
        self._app = app
        self._body_seconds = body_seconds
        self._trusted: Networks = tuple(ip_network(network) for network in trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        peer = scope.get("client")
        if self._trusted and peer is not None and _is_in(peer[0], self._trusted):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", "").split(",")]
            scope["client"] = (_nearest_untrusted(hops, self._trusted) or peer[0], 0)
            if headers.get(b"x-forwarded-proto") in {"http", "https"}:
                scope["scheme"] = headers[b"x-forwarded-proto"]
        await self._app(scope, _whole(receive, self._body_seconds), send)


def provide_device(scope: Scope) -> Device:
    """The device that a request comes from."""
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), None)
    client = scope.get("client")
    return Device(ip=client[0] if client else "", user_agent=agent.decode("latin-1") if agent else None)


def _whole(receive: Receive, seconds: float) -> Receive:
    """Raises ClientGone when the client hangs up within its request, RequestTimeout when it takes too long to send it.

    Litestar would take the first for a bug, and wait for the second for ever.
    """
    is_whole = False
    ends_at: float | None = None

    async def receive_or_raise() -> ReceiveMessage:
        nonlocal is_whole, ends_at
        if is_whole:
            return await receive()
        if ends_at is None:
            ends_at = asyncio.get_running_loop().time() + seconds
        try:
            with aside():
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
        except TimeoutError:
            raise RequestTimeout from None
        if message["type"] == "http.request":
            is_whole = not message.get("more_body", False)
        elif message["type"] == "http.disconnect":
            raise ClientGone
        return message

    return receive_or_raise


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
