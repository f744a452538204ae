"""The headers of all responses: CORS, security, caching and rate limits."""

import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.accounts.users import request_origin
from kitsu.domain.rate_limits import request_hits, tightest_limit
from kitsu.web.request import PATH_PREFIX

EXPOSED = (
    b"ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Position, X-Request-ID, X-Total-Count, X-Updated-Until"
)
METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
PREFLIGHT_MAX_AGE_SECONDS = b"7200"  # browsers keep it no longer

Headers = tuple[tuple[bytes, bytes], ...]
CorsHeaders = Mapping[bytes, Headers]  # origin to the headers of its responses
SAME_ORIGIN_PATH = "/admin"
"""The beginning of paths without CORS: pages of the same site, such as the front end, would send the cookie along."""
SLASHES = re.compile("/+")  # the routing joins them
HOST = re.compile(rb"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
VARY = (b"vary", b"Origin, Accept-Encoding")  # of all responses, as the layer `Compression` may be left out
PREFLIGHT_HEADERS = {b"origin", b"access-control-request-method"}
PREFLIGHT_VARY = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
HSTS = (b"strict-transport-security", b"max-age=31536000")
NO_STORE = (b"cache-control", b"no-store")
"""For responses without a `Cache-Control` of their own: accounts, tokens, errors."""


def cors_headers_of(origins: tuple[str, ...]) -> CorsHeaders:
    """Return the headers for the allowed origins, whose pages may send credentials."""
    return {
        origin.encode(): (
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
        )
        for origin in origins
    }


class ResponseHeaders:
    """Adds the headers, and responds to preflights. ARCHITECTURE.md says why not Litestar's CORSConfig."""

    def __init__(self, app: ASGIApp, cors_headers: CorsHeaders) -> None:
        self._app = app
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        tightest_limit.set(None)
        request_hits.set(None)
        request = dict(scope["headers"])
        origin = _origin(scope["scheme"], request.get(b"host", b""), scope["server"])
        prefix: str = scope.get(PATH_PREFIX, "")  # type: ignore[assignment] # Kitsu's own
        request_origin.set(origin and origin + prefix)
        allowed = self._cors_headers.get(request.get(b"origin", b""), ())
        if allowed and SLASHES.sub("/", scope["path"]).startswith(SAME_ORIGIN_PATH):
            allowed = ()
        is_preflight = scope["method"] == "OPTIONS" and request.keys() >= PREFLIGHT_HEADERS
        cors_headers = _preflight_headers(allowed, request) if is_preflight else (VARY, *allowed)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *cors_headers, *SECURITY]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                if scope["scheme"] == "https":
                    headers.append(HSTS)
                if message["status"] == HTTPStatus.SERVICE_UNAVAILABLE and (hits := request_hits.get()) is not None:
                    hits.give_back()
                if (allowance := tightest_limit.get()) is not None:
                    policy = allowance.policy
                    headers += [
                        (b"ratelimit-policy", f'"{policy.name}";q={policy.limit};w={policy.seconds}'.encode()),
                        (b"ratelimit", f'"{policy.name}";r={allowance.remaining};t={allowance.reset_seconds}'.encode()),
                    ]
                message["headers"] = headers
            await send(message)

        if is_preflight:
            await send_with_headers({"type": "http.response.start", "status": 204, "headers": []})
            await send_with_headers({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, send_with_headers)


@lru_cache(maxsize=1024)
def _origin(scheme: str, host: bytes, server: tuple[str, int | None] | None) -> str:
    """Return the origin at which the client reaches the service, or "" if it is unknown."""
    if HOST.fullmatch(host):
        return f"{scheme}://{host.decode()}"
    if server is None:
        return ""
    return f"{scheme}://{server[0]}" + (f":{server[1]}" if server[1] else "")


def _preflight_headers(allowed: Headers, request: Mapping[bytes, bytes]) -> Headers:
    if not allowed:
        return (PREFLIGHT_VARY,)
    method = request[b"access-control-request-method"]
    # With credentials `*` is the name of a header, not a wildcard: the response names the requested ones.
    requested = request.get(b"access-control-request-headers")
    return (
        PREFLIGHT_VARY,
        *allowed[:2],
        (b"access-control-allow-methods", METHODS if method in METHODS.split(b", ") else method),
        (b"access-control-max-age", PREFLIGHT_MAX_AGE_SECONDS),
        *([(b"access-control-allow-headers", requested)] if requested else []),
    )
