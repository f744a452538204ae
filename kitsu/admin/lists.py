"""Pages of lists: links to the next, the previous and the first page."""

from typing import Any, NamedTuple

from litestar import Request

from kitsu.admin.navigation import url
from kitsu.domain.pagination import PageRequest

PAGE_SIZE = 50
MAX_BACK = 20
"""The pages that a link leads back; before them is the first page."""


class Paging(NamedTuple):
    first: str | None
    previous: str | None
    next: str | None


def page_request(request: Request[Any, Any, Any], size: int = PAGE_SIZE) -> PageRequest:
    """Return the page that the query of a request names."""
    return PageRequest(size, cursor=request.query_params.get("cursor"))


def paging(request: Request[Any, Any, Any], next_cursor: str | None) -> Paging:
    """Return the links of a list. `back` in the query has the cursors of the pages before, the first page without."""
    query = {name: value for name, value in request.query_params.items() if name not in {"cursor", "back", "done"}}
    path = request.scope["path"]
    cursor = request.query_params.get("cursor")
    back = [each for each in request.query_params.get("back", "").split(",") if each]
    first = url(path, **query)
    following = previous = None
    if next_cursor is not None:
        behind = [*back, cursor][-MAX_BACK:] if cursor else []
        following = url(path, **query, cursor=next_cursor, back=",".join(map(str, behind)))
    if cursor is not None:
        previous = url(path, **query, cursor=back[-1] if back else None, back=",".join(back[:-1]))
    return Paging(first if cursor is not None else None, previous, following)
