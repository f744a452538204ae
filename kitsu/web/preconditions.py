"""`ETag` and `If-Match` on what several devices may change, and `Idempotency-Key` on what is said twice."""

import re
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import Provide
from litestar.params import HeaderParameter

from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.versions import Expected, version_tag
from kitsu.errors import InvalidRequest
from kitsu.web.openapi import documented_header
from kitsu.web.request import header

ETAG = documented_header("ETag", "names this state; send it as `If-Match` with a change", required=False)
IDEMPOTENT: dict[str, Any] = {"idempotent": True}
"""`opt` of a handler that calls `idempotent_request`; `/openapi.json` lists the header for it."""
_TAG = re.compile(r'\s*(\*|"?[^"\s*]+"?)\s*')


def provide_expected(
    if_match: Annotated[
        str | None,
        HeaderParameter(
            name="If-Match", description="the `ETag` that the client knows; 412 when another device was faster"
        ),
    ] = None,
) -> Expected | None:
    """The states that `If-Match` names, None without it. A weak or malformed tag names none."""
    if if_match is None:
        return None
    parts = (_TAG.fullmatch(part) for part in if_match.split(","))
    return Expected(frozenset(part[1].strip('"') for part in parts if part is not None))


EXPECTED = {"expected": Provide(provide_expected, sync_to_thread=False)}
"""The dependency of a handler that checks `If-Match`."""


def idempotent_request(request: Request[Any, Any, Any], body: msgspec.Struct) -> IdempotentRequest | None:
    """Return the request that `Idempotency-Key` names, None without it. Raises InvalidRequest."""
    # Not a header parameter: most requests have no key, and Litestar's parameter takes 10 µs of each.
    key = header(request.scope, b"idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise InvalidRequest([{"field": "Idempotency-Key", "message": "Must have 1 to 255 characters"}])
    return IdempotentRequest.of(key.decode("latin-1"), request.scope["path_template"], body)


def tagged(body: Any, row_id: UUID, version: int) -> Response[Any]:
    """An answer with the tag of the state that it shows."""
    return Response(body, headers={"ETag": f'"{version_tag(row_id, version)}"'})
