"""`ETag` and `If-Match` on what several devices may change, and `Idempotency-Key` on what is said twice."""

import re
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.params import HeaderParameter

from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.versions import Expected, version_tag

ETAG = ResponseHeader(
    name="ETag",
    description="of this state; send it back as `If-Match` with a change",
    documentation_only=True,
    required=False,
)
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="any text of the client's; the same one within a day gets the first answer again, and does nothing",
    ),
]

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


def idempotent_request(
    key: str | None, request: Request[Any, Any, Any], body: msgspec.Struct
) -> IdempotentRequest | None:
    """What `Idempotency-Key` calls this request, None without it."""
    return None if key is None else IdempotentRequest.of(key, request.scope["path_template"], body)


def tagged(body: Any, row_id: UUID, version: int) -> Response[Any]:
    """An answer with the tag of the state that it shows."""
    return Response(body, headers={"ETag": f'"{version_tag(row_id, version)}"'})
