"""Compression of responses, for clients that ask for it.

Not Litestar's `CompressionConfig`: it compresses inside the response cache.
"""

import sys
import zlib
from functools import lru_cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from kitsu.web.request import header

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIN_BYTES = 1024
MAX_KEPT_BYTES = 64 * 1024
"""Of a body whose compressed form is kept, for the next request."""
KEPT = 256
TYPES = (b"application/json", b"application/xml", b"text/")
# With tokens in a body, the length of its compressed form would tell an attacker of a guess that is in it, too.
SECRET_PATHS = ("/auth", "/admin")


class Compression:
    """Compresses responses with zstd or gzip, except those with secrets. `ResponseHeaders` adds `Vary`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = header(scope, b"accept-encoding")
        encoding = _encoding(accepted) if accepted else b""
        is_body_sent = scope["type"] == ScopeType.HTTP and scope["method"] != "HEAD"
        if not encoding or not is_body_sent or _is_secret(scope["path"]):
            await self._app(scope, receive, send)
            return
        start: HTTPResponseStartEvent | None = None
        stream: Any = None

        async def send_compressed(message: Message) -> None:
            nonlocal start, stream
            if message["type"] == "http.response.start" and _is_compressible(message):
                start = message
                return
            if message["type"] == "http.response.body":
                body, more = message["body"], message["more_body"]
                if start is not None and (more or len(body) >= MIN_BYTES):
                    stream = _Stream(encoding) if more else None
                    is_public = any(pair[0] == b"cache-control" and b"public" in pair[1] for pair in start["headers"])
                    if stream is None:
                        small = is_public and len(body) <= MAX_KEPT_BYTES
                        body = _kept(encoding, body) if small else compress(encoding, body)
                    await send(_encoded(start, encoding, None if more else len(body)))
                elif start is not None:
                    await send(start)
                start = None
                message["body"] = stream.add(body, more=more) if stream else body
            await send(message)

        await self._app(scope, receive, send_compressed)


class _Stream:
    """Compresses the pieces of a body, each so that the client can read it at once."""

    def __init__(self, encoding: bytes) -> None:
        self._is_zstd = encoding == b"zstd"
        self._compressor: Any = zstd.ZstdCompressor() if self._is_zstd else zlib.compressobj(wbits=31)

    def add(self, piece: bytes, *, more: bool) -> bytes:
        if self._is_zstd:
            mode = zstd.ZstdCompressor.FLUSH_BLOCK if more else zstd.ZstdCompressor.FLUSH_FRAME
            return bytes(self._compressor.compress(piece, mode))
        end = zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH
        return bytes(self._compressor.compress(piece) + self._compressor.flush(end))


def compress(encoding: bytes, body: bytes) -> bytes:
    """Compress a whole body."""
    return zstd.compress(body) if encoding == b"zstd" else zlib.compress(body, wbits=31)


_kept = lru_cache(maxsize=KEPT)(compress)


def _is_secret(path: str) -> bool:
    return path.lstrip("/").startswith(tuple(each.lstrip("/") for each in SECRET_PATHS))


@lru_cache(maxsize=1024)
def _encoding(accepted: bytes) -> bytes:
    """Return the best encoding that an `Accept-Encoding` allows, empty for none."""
    offered: dict[bytes, bytes] = {}
    for part in accepted.lower().split(b","):
        name, _, quality = part.partition(b";")
        offered[name.strip()] = quality.replace(b" ", b"")
    allowed = {name for name, quality in offered.items() if quality.rstrip(b".0") != b"q="}
    return next((each for each in (b"zstd", b"gzip") if each in allowed), b"")


def _is_compressible(start: HTTPResponseStartEvent) -> bool:
    headers = dict(start["headers"])
    return (
        start["status"] not in {204, 206, 304}
        and headers.get(b"content-type", b"").startswith(TYPES)
        and b"content-encoding" not in headers
        and b"set-cookie" not in headers
    )


def _encoded(start: HTTPResponseStartEvent, encoding: bytes, length: int | None) -> HTTPResponseStartEvent:
    """Return the start of the compressed response, whose ETag is weak: the bytes are others."""
    headers = [
        (name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value)
        for name, value in start["headers"]
        if name != b"content-length"
    ]
    headers.append((b"content-encoding", encoding))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    start["headers"] = headers
    return start
