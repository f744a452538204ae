"""What all lists have in common over HTTP: limit, offset, the link to the next page, the total."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.params import QueryParameter

from kitsu.domain.paging import Page, PageRequest
from kitsu.errors import InvalidRequest

T = TypeVar("T")

BIGINT_MAX = 2**63 - 1

LIST_HEADERS: Sequence[ResponseHeader] = (
    ResponseHeader(
        name="Link", description='`<…>; rel="next"` when the list goes on', documentation_only=True, required=False
    ),
    ResponseHeader(
        name="X-Total-Count", description="length of the whole list, with `total=true`", documentation_only=True,
        required=False,
    ),
)  # fmt: skip


def provide_page_request(
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="how many at most")] = 20,
    offset: Annotated[int, QueryParameter(ge=0, le=BIGINT_MAX, description="how many to skip")] = 0,
    total: Annotated[bool, QueryParameter(description="count the whole list, in `X-Total-Count`")] = False,  # noqa: FBT002 - a query parameter
) -> PageRequest:
    """Read the part of a list that a request asks for."""
    return PageRequest(limit, offset, total)


def refuse_null(request: Request[Any, Any, Any], *names: str) -> None:
    """Raise InvalidRequest for parameters of the text `null`, which msgspec would take for none given."""
    wrong = [name for name in names if request.query_params.get(name, "").lower() == "null"]
    if wrong:
        raise InvalidRequest([{"field": name, "message": "Expected a value, got null"} for name in wrong])


def answer(request: Request[Any, Any, Any], asked: PageRequest, page: Page[T]) -> Response[list[T]]:
    """The page as a bare array, with what is to be said about it in headers."""
    headers = {}
    if page.more:
        asked_for = parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
        query = [(name, value) for name, value in asked_for if name != "offset"]
        query.append(("offset", str(asked.offset + asked.limit)))
        # Without a host: behind a proxy only the client knows under which one it asked.
        headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    return Response(page.items, headers=headers)
