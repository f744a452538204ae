"""Answers of the catalogue: tagged, so that a 304 may do, and kept as bytes for as long as no row of it changes."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from kitsu.web.middleware.cors import CorsHeaders

# May be kept by browsers and CDNs, and is asked for again each time: an editor's change shows at once, for a 304.
CACHE_CONTROL = b"public, no-cache"

ETAGGED = {"catalogue": "tagged"}
CACHED = {"catalogue": "kept"}
"""What a handler says of its answers, as `opt`."""

OVERHEAD = 600
"""Bytes that an answer takes beside its body and its key: objects, headers, the table's entry."""

Key = tuple[str, str, bytes]
"""Scheme, path and query."""


class Answer(NamedTuple):
    """A 200 as it is sent, each time anew, but for what it says to the pages of an origin."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    etag: bytes
    route: str
    """The template of its path, for the log."""


class ResponseCache:
    """Keeps answers up to so many bytes; the one that was asked for longest ago leaves first.

    Nothing is kept unless changes are heard of. What was read before a change must not be kept behind it: whoever
    reads takes the `epoch` first, and gives it back with the answer.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.size = 0
        """Bytes that are taken."""
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._is_connected = False
        self.epoch = 0
        self.hits = 0
        self.misses = 0
        self.changed_at = 0.0
        """When a change was heard of last, in Unix seconds; 0: none was."""

    def has(self, scope: HTTPScope) -> bool:
        """Whether there is an answer to a request."""
        return scope["method"] == "GET" and _key(scope) in self._answers

    def get(self, key: Key) -> Answer | None:
        """The answer to a request, None when there is none."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
            self.hits += 1
        return answer

    def put(self, key: Key, answer: Answer, epoch: int) -> None:
        """Keep an answer that was read in this epoch, unless it is over or the answer too large."""
        self.misses += 1
        size = _size(key, answer)
        if epoch != self.epoch or not self._is_connected or size > self._max_bytes // 8:
            return
        if key not in self._answers:
            self._answers[key] = answer
            self.size += size
        while self.size > self._max_bytes:
            self.size -= _size(*self._answers.popitem(last=False))

    def changed(self) -> None:
        """A row of the catalogue changed: nothing that is kept holds any more."""
        self.changed_at = time.time()
        self._forget()

    def connected(self) -> None:
        """Changes are told from now on."""
        self._forget()
        self._is_connected = True

    def disconnected(self) -> None:
        """Changes may go untold: nothing is kept."""
        self._is_connected = False
        self._forget()

    def _forget(self) -> None:
        self.epoch += 1
        self._answers.clear()
        self.size = 0


def _key(scope: HTTPScope) -> Key:
    return scope["scheme"], scope["path"], scope["query_string"]


def _size(key: Key, answer: Answer) -> int:
    return len(key[1]) + len(key[2]) + len(answer.body) + OVERHEAD


class CachedResponses:
    """Answers from memory, or has the application answer and keeps that."""

    def __init__(self, app: ASGIApp, memory: ResponseCache, cors_headers: Mapping[bytes, CorsHeaders]) -> None:
        """`app` has the layers within that put headers on answers; `marks` are those of other origins."""
        self._app = app
        self._memory = memory
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        key = _key(scope)
        known = self._memory.get(key)
        if known is not None:
            scope["path_template"] = known.route
            await self._send(known, scope, send)
            return
        epoch = self._memory.epoch
        start: HTTPResponseStartEvent | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and "catalogue" in scope["route_handler"].opt:
                    start = message
                    return
            elif message["type"] == "http.response.body" and start is not None:
                answer = _answer(start, message["body"], scope["path_template"])
                if scope["route_handler"].opt["catalogue"] == "kept":
                    self._memory.put(key, answer, epoch)
                await self._send(answer, scope, send)
                return
            await send(message)

        await self._app(scope, receive, send_tagged)

    async def _send(self, answer: Answer, scope: Scope, send: Send) -> None:
        status, headers, body = 200, answer.headers, answer.body
        for name, value in scope["headers"]:
            if name == b"origin" and value in self._cors_headers:
                headers = [*headers, *self._cors_headers[value]]
            elif name == b"if-none-match" and _names(value, answer.etag):
                status, body = 304, b""
        if status == 304:
            headers = [pair for pair in headers if pair[0] not in {b"content-length", b"content-type"}]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _answer(start: HTTPResponseStartEvent, body: bytes, route: str) -> Answer:
    # Litestar sends an encoded body whole, in one message.
    etag = b'"' + blake2b(body, digest_size=12).hexdigest().encode() + b'"'
    # What the layers within said for this request alone is said anew each time, or not at all.
    said = [
        pair for pair in start["headers"] if pair[0] != b"cache-control" and not pair[0].startswith(b"access-control-")
    ]
    return Answer([*said, (b"etag", etag), (b"cache-control", CACHE_CONTROL)], body, etag, route)


def has_tag(scope: Scope, etag: bytes) -> bool:
    """Whether the client's `If-None-Match` names this tag."""
    return any(name == b"if-none-match" and _names(value, etag) for name, value in scope["headers"])


def _names(tags: bytes, etag: bytes) -> bool:
    known = (part.strip().removeprefix(b"W/") for part in tags.split(b","))
    return any(part in {b"*", etag} for part in known)
