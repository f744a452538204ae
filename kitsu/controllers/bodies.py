"""What every JSON body has to be like, beyond what its own shape says."""

import json
from typing import Any

import msgspec
from litestar import Request

from kitsu.errors import InvalidRequest, UnsupportedMediaType

JSON = "application/json"
MAX_BODY = 64 * 1024
"""Bytes; what a path takes beyond that, it says itself."""


async def check_body(request: Request[Any, Any, Any]) -> None:
    """For handlers that take JSON: that it is said to be JSON, and says nothing twice.

    Raises UnsupportedMediaType, InvalidRequest. Of two keys msgspec would take the last, and a proxy may the first.
    """
    if "data" in request.route_handler.parsed_fn_signature.parameters:
        await request.body()  # too long a one is refused for that, of whatever kind it is
        if b"content-type" in dict(request.scope["headers"]) and request.content_type[0] != JSON:
            raise UnsupportedMediaType
        await json_of(request)


async def json_of(request: Request[Any, Any, Any]) -> Any:
    """The body as JSON. Raises InvalidRequest for what is none, or has a key twice."""
    body = await request.body()
    try:
        msgspec.json.decode(body)  # which is strict about the text, as the other is about its keys
        return json.loads(body, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise InvalidRequest from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)
