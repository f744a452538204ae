"""The body of a request: read once, and what every JSON body has to be like beyond what its own shape says."""

import json
from typing import Any

import msgspec
from litestar import Request
from litestar.types import Empty

from kitsu.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from kitsu.web.middleware.client import SMALL_BODY_BYTES

JSON = "application/json"
MAX_BODY_BYTES = SMALL_BODY_BYTES
"""Bytes; what a path takes beyond that, it says itself."""


class KitsuRequest(Request[Any, Any, Any]):
    """A request whose body is read in one piece, where Litestar has a stream of its pieces each time."""

    async def body(self) -> bytes:
        """The body. Raises PayloadTooLarge, InvalidRequest, ClientGone."""
        if self._body is Empty:
            self._body = await self._read(self.route_handler.resolve_request_max_body_size() or float("inf"))
        return self._body

    async def json(self) -> Any:
        """The body as JSON. Raises InvalidRequest for what is none, or has a key twice."""
        if self._json is Empty:
            body = await self.body()
            try:
                self._json = _strict(body)
                # Of two keys it would take the last, and a proxy may the first. Each key has a colon: as many colons as
                # keys that were found leave room for no other.
                if not isinstance(self._json, dict) or body.count(b":") != len(self._json):
                    _distinct_keys(body.decode())
            except (ValueError, RecursionError):
                raise InvalidRequest from None
        return self._json

    async def checked_json(self) -> Any:
        """For handlers that take JSON. Raises PayloadTooLarge, UnsupportedMediaType, InvalidRequest."""
        await self.body()  # too long a one is refused for that, of whatever kind it is
        said = self.header(b"content-type")
        if said not in {None, b"application/json"} and self.content_type[0] != JSON:
            raise UnsupportedMediaType
        return await self.json()

    async def close(self) -> None:
        """Let go of what the body was read into."""
        if self._form is not Empty:
            await self._form.close()

    async def _read(self, most: float) -> bytes:
        announced = self.header(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > most:
            raise PayloadTooLarge
        pieces = []
        size = 0
        while True:
            message: Any = await self.receive()
            piece = message["body"]
            size += len(piece)
            if size > most:
                raise PayloadTooLarge
            pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def header(self, wanted: bytes) -> bytes | None:
        """A header by its name in lower case, None without it."""
        return next((value for name, value in self.scope["headers"] if name == wanted), None)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


_strict = msgspec.json.Decoder().decode
_distinct_keys = json.JSONDecoder(object_pairs_hook=_distinct).decode
