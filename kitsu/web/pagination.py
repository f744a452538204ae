"""Lists over HTTP: the query parameters and headers of pages and of changes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.di import Provide

from kitsu.domain.changes import Changes, ChangesCursor, ChangesRequest, ListRequest
from kitsu.domain.pagination import MAX_TOTAL, Page, PageRequest, decode_cursor, encode_cursor
from kitsu.errors import InvalidRequest
from kitsu.web.openapi import documented_header, query
from kitsu.web.validation import all_details

BIGINT_MAX = 2**63 - 1

LIST_HEADERS: Sequence[ResponseHeader] = (
    documented_header("Link", '`<…>; rel="next"`: the next page, if there is one.', required=False),
    documented_header("X-Total-Count", f"With `total=true`: the list's length, at most {MAX_TOTAL}.", required=False),
)
CHANGES_HEADERS: Sequence[ResponseHeader] = (
    *LIST_HEADERS,
    documented_header("X-Updated-Until", "With `updated_since`: its value for the next request.", required=False),
)
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)

Limit = Annotated[int, query("The maximum number of items.", 20, ge=1, le=100)]
Offset = Annotated[int, query("The number of items to skip.", 0, ge=0, le=BIGINT_MAX)]
Total = Annotated[bool, query("Whether to send the length of the whole list in `X-Total-Count`.")]
Cursor = Annotated[str | None, query("The start of a page, from `Link`.", "WyIyMDI2LTExLTIyIl0", max_length=20_000)]
UpdatedSince = Annotated[
    datetime | None,
    query(
        "Only what changed at this time or later, the oldest change first. Start with any time long ago, then send the "
        "`X-Updated-Until` of the last response; after more than 30 days fetch the whole list."
    ),
]
Deleted = Annotated[bool, query("Whether to include a `Tombstone` for each item deleted in the last 30 days.")]


def provide_page_request(
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
) -> PageRequest:
    """Return the requested page of a list."""
    return PageRequest(limit, offset, total, cursor)


def provide_list_request(
    request: Request[Any, Any, Any],
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
    updated_since: UpdatedSince = None,
    deleted: Deleted = False,  # noqa: FBT002 - a query parameter
) -> ListRequest:
    """Return the requested page of a list, or of its changes. Raises InvalidRequest."""
    page = PageRequest(limit, offset, total, cursor)
    # msgspec takes `null` for None, and a number for seconds since 1970.
    if ":" not in request.query_params.get("updated_since", ":"):
        raise InvalidRequest([{"field": "updated_since", "message": "Invalid RFC3339 encoded datetime"}])
    if updated_since is None and not deleted:
        return ListRequest(page)
    if offset:
        raise InvalidRequest([{"field": "offset", "message": "A list of changes has no offset; use its Link"}])
    if updated_since is not None and updated_since.tzinfo is None:
        raise InvalidRequest([{"field": "updated_since", "message": "Expected a time with a time zone, such as Z"}])
    after = None if cursor is None else _changes_cursor(cursor)
    return ListRequest(page, ChangesRequest(updated_since or EARLIEST, deleted, limit, after))


def _changes_cursor(cursor: str) -> ChangesCursor:
    try:
        place = msgspec.json.decode(decode_cursor(cursor), type=ChangesCursor)
        place.until.astimezone(UTC)  # fails for some times at the ends of the calendar
    except (ValueError, OverflowError):
        raise InvalidRequest([{"field": "cursor", "message": "Expected the cursor of a Link"}]) from None
    return place


PAGES = {"page_request": Provide(provide_page_request, sync_to_thread=False)}
"""The dependency of a list."""
LISTS = {"list_request": Provide(provide_list_request, sync_to_thread=False)}
"""The dependency of a list that includes its changes. It is one, since several dependencies cost a task each."""


def refuse_null(request: Request[Any, Any, Any], *names: str) -> None:
    """Raise InvalidRequest for parameters with the text `null`, which msgspec takes for None."""
    if any(request.query_params.get(name, "").lower() == "null" for name in names):
        raise InvalidRequest.of(*all_details(request))


def list_response(request: Request[Any, Any, Any], part: Page[Any] | Changes[Any]) -> Response[Any]:
    """Return a page of a list, or of its changes, as a bare array; all else is in headers."""
    if isinstance(part, Page):
        return page_response(request, part)
    headers = {"X-Updated-Until": part.until.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    if part.next is not None:
        headers["Link"] = _next_link(request, encode_cursor(part.next))
    return Response(part.items, headers=headers)


def page_response(request: Request[Any, Any, Any], page: Page[Any]) -> Response[Any]:
    """Return a page as a bare array; the next page and the total are in headers."""
    headers = {}
    if page.cursor is not None:
        headers["Link"] = _next_link(request, page.cursor)
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    return Response(page.items, headers=headers)


def _next_link(request: Request[Any, Any, Any], cursor: str) -> str:
    sent = request.scope["query_string"].decode().split("&")
    query = [pair for pair in sent if pair and pair.partition("=")[0] not in {"cursor", "offset"}]
    # Without a host: behind a proxy only the client knows its name.
    return f'<{request.scope["path"]}?{"&".join([*query, f"cursor={cursor}"])}>; rel="next"'
