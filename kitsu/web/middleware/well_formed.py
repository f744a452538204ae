"""The rules of HTTP/1.1 for headers that Granian does not check."""

import re
from functools import lru_cache

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from kitsu.errors import BadRequest
from kitsu.web.middleware.rejection import Rejection
from kitsu.web.middleware.response_headers import CorsHeaders

# RFC 3986: a name or an address in brackets, and a port.
_HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


class WellFormed:
    """Rejects requests whose `Host` or body is ambiguous: a proxy may read them in another way than Kitsu."""

    def __init__(self, app: ASGIApp, cors_headers: CorsHeaders) -> None:
        self._app = app
        self._bad_host = _rejection("The request needs one valid Host header", cors_headers)
        self._bad_encoding = _rejection("The request has another Transfer-Encoding than chunked", cors_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._rejection_of(scope) if scope["type"] == ScopeType.HTTP else None
        if rejection is None:
            await self._app(scope, receive, send)
        else:
            await rejection.send(scope, send)

    def _rejection_of(self, scope: HTTPScope) -> Rejection | None:
        host, encoding = b"", None
        for name, value in scope["headers"]:
            if name == b"host":
                if host:
                    return self._bad_host
                host = value
            elif name == b"transfer-encoding":
                if encoding is not None or value.lower() != b"chunked":
                    return self._bad_encoding
                encoding = value
        # Granian adds an empty Host to a request that has none, which clients of HTTP/1.0 may send.
        is_right = _is_host(host) if host else scope["http_version"] != "1.1"
        return None if is_right else self._bad_host


def _rejection(message: str, cors_headers: CorsHeaders) -> Rejection:
    error = BadRequest(message)
    error.headers = {"Connection": "close"}
    return Rejection(error, cors_headers)


@lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None
