"""What all lists have in common over HTTP: limit, offset, the link to the next page, the total; lists of changes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.params import QueryParameter

from kitsu.domain.changes import Changes, ChangesCursor, ChangesRequest, ListRequest
from kitsu.domain.pagination import MAX_TOTAL, Page, PageRequest, cursor_of, json_of
from kitsu.errors import InvalidRequest
from kitsu.web.openapi import documented_header

BIGINT_MAX = 2**63 - 1

LIST_HEADERS: Sequence[ResponseHeader] = (
    documented_header("Link", '`<…>; rel="next"`: the next page, if there is one', required=False),
    documented_header(
        "X-Total-Count", f"the length of the whole list, with `total=true`; {MAX_TOTAL} for longer ones", required=False
    ),
)
CHANGES_HEADERS: Sequence[ResponseHeader] = (
    *LIST_HEADERS,
    documented_header(
        "X-Updated-Until", "with `updated_since`: the value of `updated_since` for the next time", required=False
    ),
)
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


Limit = Annotated[int, QueryParameter(ge=1, le=100, description="how many at most")]
Offset = Annotated[int, QueryParameter(ge=0, le=BIGINT_MAX, description="how many to skip")]
Total = Annotated[bool, QueryParameter(description="count the whole list, in `X-Total-Count`")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=20_000, description="where the `Link` to the next page begins")
]


def provide_page_request(
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
) -> PageRequest:
    """Return the part of a list that a request asks for."""
    return PageRequest(limit, offset, total, cursor)


def provide_list_request(
    request: Request[Any, Any, Any],
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
    updated_since: Annotated[
        datetime | None,
        QueryParameter(
            description="only what changed at this time or later, the oldest change first; begin with any time long "
            "ago, go on with the `X-Updated-Until` of the last answer"
        ),
    ] = None,
    deleted: Annotated[  # noqa: FBT002 - a query parameter
        bool,
        QueryParameter(
            description="with tombstones (`id`, `anime_id`, `deleted_at`) of what was deleted in the last 30 days; "
            "whoever asks less often fetches the whole list"
        ),
    ] = False,
) -> ListRequest:
    """Return the part of a list, or of its changes, that a request asks for. Raises InvalidRequest."""
    page = PageRequest(limit, offset, total, cursor)
    # msgspec would take `null` for none given, and a number for seconds since 1970.
    if ":" not in request.query_params.get("updated_since", ":"):
        raise InvalidRequest([{"field": "updated_since", "message": "Invalid RFC3339 encoded datetime"}])
    if updated_since is None and not deleted:
        return ListRequest(page)
    if offset:
        raise InvalidRequest([{"field": "offset", "message": "A list of changes goes on at the Link of its answer"}])
    if updated_since is not None and updated_since.tzinfo is None:
        raise InvalidRequest([{"field": "updated_since", "message": "Expected a time with its zone, such as Z"}])
    changes = ChangesRequest(
        updated_since or EARLIEST, deleted, limit, None if cursor is None else _changes_cursor(cursor)
    )
    return ListRequest(page, changes)


PAGES = {"page_request": Provide(provide_page_request, sync_to_thread=False)}
"""The dependency of a handler of a list."""
LISTS = {"list_request": Provide(provide_list_request, sync_to_thread=False)}
"""The dependency of a handler of a list whose changes can be listed: one, since several cost a task each."""


def list_response(request: Request[Any, Any, Any], part: Page[Any] | Changes[Any]) -> Response[Any]:
    """Return a page of a list, or of its changes, as a bare array; the rest is in headers."""
    return changes_response(request, part) if isinstance(part, Changes) else page_response(request, part)


def changes_response(request: Request[Any, Any, Any], changes: Changes[Any]) -> Response[Any]:
    """Return a page of changes as a bare array; its next page, and the time to begin at the next time, in headers."""
    headers = {"X-Updated-Until": changes.until.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    if changes.next is not None:
        headers["Link"] = _next_link(request, cursor_of(changes.next))
    return Response(changes.items, headers=headers)


def _changes_cursor(cursor: str) -> ChangesCursor:
    try:
        place = msgspec.json.decode(json_of(cursor), type=ChangesCursor)
        place.until.astimezone(UTC)  # which some times at the ends of the calendar have not
    except (ValueError, OverflowError):
        raise InvalidRequest([{"field": "cursor", "message": "Expected the one of a Link"}]) from None
    return place


def refuse_null(request: Request[Any, Any, Any], *names: str) -> None:
    """Raise InvalidRequest for parameters of the text `null`, which msgspec would take for none given."""
    wrong = [name for name in names if request.query_params.get(name, "").lower() == "null"]
    if wrong:
        raise InvalidRequest([{"field": name, "message": "Expected a value, got null"} for name in wrong])


def page_response(request: Request[Any, Any, Any], page: Page[Any]) -> Response[Any]:
    """Return a page as a bare array; its next page and the total in headers."""
    headers = {}
    if page.cursor is not None:
        headers["Link"] = _next_link(request, page.cursor)
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    return Response(page.items, headers=headers)


def _next_link(request: Request[Any, Any, Any], cursor: str) -> str:
    asked_for = parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
    query = [(given, text) for given, text in asked_for if given not in {"cursor", "offset"}]
    # Without a host: behind a proxy only the client knows under which one it asked.
    return f'<{request.scope["path"]}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
