"""The request class, which reads JSON bodies more strictly than Litestar."""

import json
import math
import zlib
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Scope

from kitsu.domain.accounts.identities import Identity
from kitsu.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding, UnsupportedMediaType
from kitsu.web.validation import JSON_BODY

JSON = "application/json"
MAX_BODY_BYTES = 64 * 1024  # the default limit of a body; handlers of larger ones set `request_max_body_size`

PATH_PREFIX = "kitsu_path_prefix"
"""Key in the scope of what proxies have removed from the beginning of the path."""
body_owner: ContextVar[UUID | None] = ContextVar("body_owner", default=None)
"""The authenticated user who sends the body of the request. The layer that limits bodies does not see the user in the
scope of a mounted application."""
MAX_LEVELS = 900
"""Of lists and objects in a JSON body. Python's own limit depends on its version: 3.12 reads 1,000 levels."""

UserT = TypeVar("UserT", Identity, Identity | None)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of a lower-case name, or None. `request.headers` is slower: it decodes all headers."""
    for sent, value in scope["headers"]:
        if sent == name:
            return value
    return None


class StrictRequest(Request[UserT, Any, State]):
    """A request whose JSON body must be declared as JSON, be UTF-8 and have no key twice. Bodies may be gzipped."""

    whole_body: bytes | None = None

    async def body(self) -> bytes:
        """Return the body, decompressed. Raises PayloadTooLarge, UnsupportedEncoding, InvalidRequest."""
        # Litestar's method uses `stream`, an asynchronous generator, which takes a tenth of a short request.
        if self.whole_body is None:
            limit = self.route_handler.resolve_request_max_body_size() or math.inf
            announced = header(self.scope, b"content-length") or b""
            if announced.isdigit() and int(announced) > limit:
                raise PayloadTooLarge
            pieces: list[bytes] = []
            size, more = 0, True
            try:
                while more:
                    message: Any = await self.receive()
                    size += len(message["body"])
                    if size > limit:
                        raise PayloadTooLarge
                    pieces.append(message["body"])
                    more = message.get("more_body", False)
                body = b"".join(pieces)
            finally:
                pieces.clear()  # an error's traceback has this frame, until the garbage collector finds it
            encoding = header(self.scope, b"content-encoding")
            self.whole_body = body if encoding is None else _decompressed(body, encoding, limit)
        return self.whole_body

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in pieces, for forms."""
        if header(self.scope, b"content-encoding") is not None:
            yield await self.body()
        elif self.whole_body is None:
            async for piece in super().stream():
                yield piece
        else:
            yield self.whole_body

    async def json(self) -> Any:
        """Return the decoded body. Raises UnsupportedMediaType and InvalidRequest.

        Of two equal keys Litestar takes the last, and a proxy may take the first.
        """
        declared = header(self.scope, b"content-type")
        if declared not in {None, b"application/json"} and self.content_type[0] != JSON:
            raise UnsupportedMediaType
        body = (await self.body()).removeprefix(BOM_UTF8)
        try:
            value = _decode(body)
            # Each key has a colon: with as many colons as keys no key was there twice.
            if not isinstance(value, dict) or body.count(b":") != len(value):
                _decode_distinct(body.decode())
            if body.count(b"[") + body.count(b"{") > MAX_LEVELS:
                _check_levels(value)
        except (ValueError, RecursionError):
            raise InvalidRequest from None
        if b'"_' in body and isinstance(value, dict):  # names that are the client's own, as in the query
            value = {name: each for name, each in value.items() if not name.startswith("_")}
        self.scope[JSON_BODY] = value  # type: ignore[literal-required] # Kitsu's own
        return value


ViewerRequest = StrictRequest[Identity]
"""The request of a handler that requires a token."""
GuestRequest = StrictRequest[Identity | None]
"""The request of a handler that guests may use; `user` is None for them."""


def _decompressed(body: bytes, encoding: bytes, limit: float) -> bytes:
    """Return a body without its encoding. Not more than `limit` bytes are decompressed."""
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in {b"gzip", b"x-gzip"}:
        raise UnsupportedEncoding
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # with gzip's header
    try:
        value = decompressor.decompress(body, 0 if limit == math.inf else int(limit) + 1)
    except zlib.error:
        raise InvalidRequest from None
    if len(value) > limit:
        raise PayloadTooLarge
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidRequest
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("duplicate key")
    return value


def _check_levels(value: Any) -> None:
    level = [value]
    for _ in range(MAX_LEVELS):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [*chain.from_iterable(inner)]
    if level:
        raise ValueError("too many levels")


_decode = msgspec.json.Decoder().decode
_decode_distinct = json.JSONDecoder(object_pairs_hook=_distinct).decode
