"""The client of a request: its address, scheme and host behind proxies."""

import re
from collections.abc import Awaitable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from litestar.di import Provide
from litestar.types import ASGIApp, Receive, Scope, Send

from kitsu.domain.accounts.sessions import Device
from kitsu.domain.rate_limits import plain_address
from kitsu.web.request import PATH_PREFIX, header

Networks = tuple[IPv4Network | IPv6Network, ...]

_PREFIX = re.compile(r"(/[\w.~-]+)+/?", re.ASCII)
_RAW_BYTE = re.compile(rb"[^\x00-\x7f]")


class Client:
    """Puts the client's address, scheme and host in the scope.

    The headers of proxies are ignored unless they come from a trusted network: every client can send them.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: tuple[str, ...], path_prefix: str) -> None:
        """`path_prefix` is what proxies remove from the beginning of paths, unless they send it."""
        self._app = app
        self._path_prefix = path_prefix
        self._trusted: Networks = tuple(ip_network(network) for network in trusted_proxies)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not a coroutine of its own, since a rejection has to be cheap.
        if not scope["query_string"].isascii():
            # curl and old browsers send letters beyond ASCII without percent-encoding. Litestar takes them for Latin-1.
            scope["query_string"] = _RAW_BYTE.sub(lambda found: b"%%%02X" % found[0][0], scope["query_string"])
        scope[PATH_PREFIX] = self._path_prefix  # type: ignore[literal-required] # Kitsu's own
        peer = scope.get("client")
        if self._trusted and peer is not None and _is_in(peer[0], self._trusted):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", "").split(",")]
            scope["client"] = (_nearest_untrusted(hops, self._trusted) or peer[0], 0)
            if headers.get(b"x-forwarded-proto") in {"http", "https"}:
                scope["scheme"] = headers[b"x-forwarded-proto"]
            # The proxy has written the last one; a client may have sent those before it.
            if host := headers.get(b"x-forwarded-host", "").rpartition(",")[2].strip():
                others = (header for header in scope["headers"] if header[0] != b"host")
                scope["headers"] = [(b"host", host.encode("latin-1")), *others]
            if _PREFIX.fullmatch(prefix := headers.get(b"x-forwarded-prefix", "")):
                scope[PATH_PREFIX] = prefix.rstrip("/")  # type: ignore[literal-required] # Kitsu's own
        return self._app(scope, receive, send)


def provide_device(scope: Scope) -> Device:
    """Return the device that a request comes from."""
    agent = header(scope, b"user-agent")
    client = scope.get("client")
    return Device(ip=client[0] if client else "", user_agent=agent.decode("latin-1") if agent else None)


DEVICE = {"client_device": Provide(provide_device, sync_to_thread=False)}
"""The dependency of handlers that need the client's device."""


def _nearest_untrusted(hops: list[str], trusted: Networks) -> str | None:
    """Return the client's address from `X-Forwarded-For`, to which each proxy appends the address of its client."""
    hop = next((hop for hop in reversed(hops) if not _is_in(hop, trusted)), "")
    with suppress(ValueError):
        ip_address(hop)
        return hop
    return None


@lru_cache(maxsize=4096)
def _is_in(address: str, networks: Networks) -> bool:
    try:
        ip = plain_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks if network.version == ip.version)
