"""Responses of the catalogue: they have an ETag, and are cached until a row of the catalogue changes."""

import math
import time
from collections import OrderedDict
from typing import NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from kitsu.domain.versions import content_tag
from kitsu.web.middleware.response_headers import CorsHeaders
from kitsu.web.request import PATH_PREFIX

# Browsers and CDNs may store a response and must revalidate it, so that an editor's change shows at once.
CACHE_CONTROL = b"public, no-cache"
ETAGGED = {"catalogue": "etagged"}  # `opt` of a handler whose responses get an ETag
CACHED = {"catalogue": "cached"}  # `opt` of a handler whose responses get an ETag and are cached in memory
CACHED_METHODS = {"GET", "HEAD"}
ENTRY_OVERHEAD_BYTES = 600  # memory of an entry beside its body and its key

Key = tuple[str, str, bytes, str]  # scheme, path, query, and the prefix of the path


class CachedResponse(NamedTuple):
    """A response of status 200, without the headers that depend on the request."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    etag: bytes
    path_template: str


class ResponseCache:
    """Caches responses up to a number of bytes, and removes the least recently used ones first.

    While the change listener is disconnected it caches nothing, and keeps what it has for `stale_seconds`. A response
    that was read before a change must not be cached after it: read `epoch` before the database, and pass it to `put`.
    """

    def __init__(self, max_bytes: int, stale_seconds: float = 0.0) -> None:
        self._max_bytes = max_bytes
        self._stale_seconds = stale_seconds
        self._stale_at = math.inf
        """When what it has is too old, on the monotonic clock."""
        self.size = 0
        """Bytes in use."""
        self._entries: OrderedDict[Key, CachedResponse] = OrderedDict()
        self._is_connected = False
        self.epoch = 0
        self.hits = 0
        self.misses = 0
        self.changed_at = 0.0
        """The time of the last change in Unix seconds, or 0."""

    def has(self, scope: HTTPScope) -> bool:
        """Return whether a request is a cache hit."""
        return scope["method"] in CACHED_METHODS and _key(scope) in self._entries and not self._is_stale()

    def get(self, key: Key) -> CachedResponse | None:
        """Return the cached response, or None."""
        response = self._entries.get(key)
        if response is not None and not self._is_stale():
            self._entries.move_to_end(key)
            self.hits += 1
            return response
        return None

    def put(self, key: Key, response: CachedResponse, epoch: int) -> None:
        """Cache a response, unless it is too large or its epoch has ended."""
        self.misses += 1
        size = _size(key, response)
        is_cacheable = self._is_connected and epoch == self.epoch and size <= self._max_bytes // 8
        if is_cacheable and key not in self._entries:
            self._entries[key] = response
            self.size += size
            while self.size > self._max_bytes:
                self.size -= _size(*self._entries.popitem(last=False))

    def changed(self) -> None:
        self.changed_at = time.time()
        self._clear()

    def connected(self) -> None:
        self._clear()
        self._is_connected = True
        self._stale_at = math.inf

    def disconnected(self) -> None:
        if self._is_connected:
            self._stale_at = time.monotonic() + self._stale_seconds
            self.epoch += 1  # what is being read now is not cached
        self._is_connected = False
        if self._is_stale():
            self._clear()

    def _is_stale(self) -> bool:
        return not self._is_connected and time.monotonic() >= self._stale_at

    def _clear(self) -> None:
        self.epoch += 1
        self._entries.clear()
        self.size = 0


def _key(scope: HTTPScope) -> Key:
    prefix: str = scope.get(PATH_PREFIX, "")  # type: ignore[assignment] # Kitsu's own
    return scope["scheme"], scope["path"], scope["query_string"], prefix


def _size(key: Key, response: CachedResponse) -> int:
    return len(key[1]) + len(key[2]) + len(response.body) + ENTRY_OVERHEAD_BYTES


class CachedResponses:
    """Sends cached responses, and caches those of handlers with `opt=CACHED`."""

    def __init__(self, app: ASGIApp, cache: ResponseCache, cors_headers: CorsHeaders) -> None:
        """`app` includes the layers whose headers are cached with a response."""
        self._app = app
        self._cache = cache
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] not in CACHED_METHODS:
            await self._app(scope, receive, send)
            return
        key = _key(scope)
        hit = self._cache.get(key)
        if hit is not None:
            scope["path_template"] = hit.path_template  # for the log
            await self._send(hit, scope, send)
            return
        epoch = self._cache.epoch
        start: HTTPResponseStartEvent | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and "catalogue" in scope["route_handler"].opt:
                    start = message
                    return
            elif message["type"] == "http.response.body" and start is not None and not message["more_body"]:
                response = _cacheable(start, message["body"], scope["path_template"])
                if scope["route_handler"].opt["catalogue"] == "cached":
                    self._cache.put(key, response, epoch)
                await self._send(response, scope, send)
                return
            elif start is not None:  # a stream is neither tagged nor cached
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_tagged)

    async def _send(self, response: CachedResponse, scope: Scope, send: Send) -> None:
        status, headers, body = 200, response.headers, response.body
        for name, value in scope["headers"]:
            if name == b"origin" and value in self._cors_headers:
                headers = [*headers, *self._cors_headers[value]]
            elif name == b"if-none-match" and _names(value, response.etag):
                status, body = 304, b""
        if status == 304:
            headers = [pair for pair in headers if pair[0] not in {b"content-length", b"content-type"}]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _cacheable(start: HTTPResponseStartEvent, body: bytes, path_template: str) -> CachedResponse:
    etag = f'"{content_tag(body)}"'.encode()
    # CORS headers depend on the request's origin, and are added for each request.
    headers = [pair for pair in start["headers"] if not pair[0].startswith((b"cache-control", b"access-control-"))]
    return CachedResponse([*headers, (b"etag", etag), (b"cache-control", CACHE_CONTROL)], body, etag, path_template)


def has_tag(scope: Scope, etag: bytes) -> bool:
    """Return whether the client's `If-None-Match` names this tag."""
    return any(name == b"if-none-match" and _names(value, etag) for name, value in scope["headers"])


def _names(tags: bytes, etag: bytes) -> bool:
    known = (part.strip().removeprefix(b"W/") for part in tags.split(b","))
    return any(part in {b"*", etag} for part in known)
