"""A page of a list: what was asked for, how it is read, and what came."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import BigInteger, Select, bindparam

from kitsu.db.direct import Direct

T = TypeVar("T")
Rows = Select[*tuple[Any, ...]]


class PageRequest(msgspec.Struct, frozen=True):
    """Which part of a list is asked for, and whether the length of all of it is."""

    limit: int = 20
    offset: int = 0
    total: bool = False


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list."""

    items: list[T]
    more: bool
    """Whether the list goes on behind this part."""
    total: int | None = None
    """The length of the whole list, where it was asked for."""


def cut(items: list[T], request: PageRequest, total: int | None) -> Page[T]:
    """The page out of `limit + 1` items: the one too many only says that the list goes on."""
    return Page(items[: request.limit], len(items) > request.limit, total)


def page_of(rows: Rows, *order: Any) -> Rows:
    """The statement of a page of these rows, in this order; `limit` and `offset` are parameters of it."""
    limit, offset = bindparam("limit", type_=BigInteger), bindparam("offset", type_=BigInteger)
    return rows.order_by(*order).limit(limit).offset(offset)


async def read_page(
    direct: Direct,
    statement: Rows,
    count: Rows,
    parameters: Mapping[str, Any],
    request: PageRequest,
    shape: Callable[[Sequence[Any]], T],
) -> Page[T]:
    """The page that a request asks for, by its statement; counted, by the other one, only where that is asked for."""
    rows = await direct.rows(statement, {**parameters, "limit": request.limit + 1, "offset": request.offset})
    total = await direct.value(count, parameters) if request.total else None
    return cut([shape(row) for row in rows], request, total)
