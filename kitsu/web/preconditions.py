"""`ETag`, `If-Match` and `If-None-Match` of what several devices may change; `Idempotency-Key` of repeated requests."""

import re
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency, Provide
from litestar.params import HeaderParameter

from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.rate_limits import RateLimiter
from kitsu.domain.versions import Expected, content_tag, version_tag
from kitsu.errors import InvalidRequest
from kitsu.web.openapi import documented_header, parameter
from kitsu.web.request import header

ETAG = documented_header("ETag", "The version of the resource. Send it as `If-Match` with a change.", required=False)
IDEMPOTENT: dict[str, Any] = {"idempotent": True}
"""`opt` of a handler that calls `idempotent_request`; `/openapi.json` lists the header for it."""
_EXAMPLE_TAG = '"019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b.3"'
_TAG = re.compile(r'\s*(?:W/(?="))?(\*|"?[^"\s*]+"?)\s*')


def provide_expected(
    if_match: Annotated[
        str | None, parameter(HeaderParameter, "The last `ETag`; 412 if it has changed.", _EXAMPLE_TAG, name="If-Match")
    ] = None,
    if_none_match: Annotated[
        str | None, parameter(HeaderParameter, "`*`: 412 if the resource exists already.", "*", name="If-None-Match")
    ] = None,
) -> Expected | None:
    """Return the versions that the headers name, or None without them. Malformed tags never match.

    Weak tags match: tags are versions of rows, and proxies weaken them when they compress a response.
    """
    if if_match is None and if_none_match is None:
        return None
    return Expected(None if if_match is None else _tags(if_match), _tags(if_none_match or ""))


def _tags(header: str) -> frozenset[str]:
    found = (_TAG.fullmatch(part) for part in header.split(","))
    return frozenset(tag[1].strip('"') for tag in found if tag)


EXPECTED = {"expected": Provide(provide_expected, sync_to_thread=False)}
"""The dependency of a handler that checks `If-Match` and `If-None-Match`."""


IfMatch = NamedDependency[Expected | None]


def idempotent_request(
    request: Request[Any, Any, Any], body: msgspec.Struct, reports: int = 1
) -> IdempotentRequest | None:
    """Return the request that `Idempotency-Key` names, or None without the header. Raises InvalidRequest.

    `reports` is their number in the body: so many results are in the response, which is stored.
    """
    # Not a header parameter: that takes 10 µs of each request, and most have no key.
    key = header(request.scope, b"idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise InvalidRequest([{"field": "Idempotency-Key", "message": "Must have 1 to 255 characters"}])
    limiter: RateLimiter = request.app.state.parts[RateLimiter]
    path = request.scope["path_template"]
    return IdempotentRequest.of(key.decode("latin-1"), path, body, reports=reports, limiter=limiter)


def tagged(body: Any) -> Response[Any]:
    """Return a response with the `ETag` of the `id` and `version` of its body."""
    return Response(body, headers={"ETag": f'"{version_tag(body.id, body.version)}"'})


def tagged_by_content(body: msgspec.Struct) -> Response[Any]:
    """Return a response with the `ETag` that a GET of the same has."""
    return Response(body, headers={"ETag": f'"{content_tag(msgspec.json.encode(body))}"'})
