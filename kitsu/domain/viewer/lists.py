"""What the five lists of a viewer have in common: pages, changes, and the reading of all rows for an export."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Uuid, bindparam, select
from sqlalchemy.orm import InstrumentedAttribute

from kitsu.db.statements import StatementRunner
from kitsu.domain.changes import Changes, ChangesListing, ListRequest
from kitsu.domain.mapping import Rows
from kitsu.domain.pagination import Listing, Page, PageRequest, ascending, descending

T = TypeVar("T")

EXPORT_ROWS = 50
"""Rows that an export reads at once. A client that reads slowly keeps them in memory as JSON or XML."""
USER_ID: Any = bindparam("user_id", type_=Uuid)


class OwnListReader(Generic[T]):
    """Reads a list of a viewer's own rows, whose statements have the parameter `user_id`."""

    listing: Listing[T]
    changes: ChangesListing[T]

    def __init__(self, runner: StatementRunner) -> None:
        self.runner = runner

    async def read(self, user_id: UUID, request: ListRequest) -> Page[T] | Changes[T]:
        """Return a page of the list, or of its changes. Raises InvalidRequest for a cursor of another list."""
        if request.changes is not None:
            return await self.changes.read(self.runner, user_id, request.changes)
        return await self.listing.page(self.runner, {"user_id": user_id}, request.page)


def newest_first(
    kind: type[T], rows: Rows, time: InstrumentedAttribute[datetime], *filters: ColumnElement[bool]
) -> Listing[T]:
    """Return a list of a viewer's own rows, sorted by a time of theirs."""
    model: Any = time.class_
    counted = select(model.id).where(model.user_id == USER_ID, *filters)
    return Listing(kind, rows.where(*filters), descending(time), descending(model.id), counted=counted)


def export_listing(kind: type[T] | Callable[[Any], T], rows: Rows, *keys: Any) -> Listing[T]:
    """Return a list for an export, sorted by columns that together are unique."""
    return Listing(kind, rows, *map(ascending, keys), counted=rows)


async def export_rows(
    runner: StatementRunner, listing: Listing[T], user_id: UUID, encode: Callable[[list[T]], bytes]
) -> AsyncIterator[bytes]:
    """Yield the encoded rows of a user. It holds no connection while the client reads."""
    request: PageRequest | None = PageRequest(EXPORT_ROWS)
    while request:
        page = await listing.page(runner, {"user_id": user_id}, request)
        request = PageRequest(EXPORT_ROWS, cursor=page.cursor) if page.cursor else None
        piece = encode(page.items)
        del page
        yield piece


async def export_json(runner: StatementRunner, listing: Listing[Any], user_id: UUID) -> AsyncIterator[bytes]:
    """Yield the rows of a user as a JSON array."""
    separator = b"["
    async for piece in export_rows(runner, listing, user_id, lambda items: msgspec.json.encode(items)[1:-1]):
        yield separator + piece
        separator = b","
    yield b"]"
