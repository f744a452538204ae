"""A list by the time of the last change, which misses no row although rows move to its front while it is read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, bindparam, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from kitsu.db.statements import StatementRunner
from kitsu.domain.changes import UNTIL
from kitsu.domain.mapping import Rows
from kitsu.domain.pagination import Listing, Page, PageRequest, decode_cursor, descending, encode_cursor
from kitsu.errors import InvalidRequest

T = TypeVar("T")
HIDDEN_TRANSACTION = timedelta(minutes=1)
"""Transactions of other roles, whose start PostgreSQL does not show, are taken to be no older."""
FIRST_ID = UUID(int=0)


class Place(NamedTuple):
    """The last row of a page."""

    changed_at: datetime
    id: UUID
    since: datetime  # what was committed later was not in the list when its first page was read
    is_late: bool = False  # whether the row is among those that changed since


class LastChangedListing(Listing[T]):
    """Lists the rows as they were at the first page, and then those that have changed since, the oldest change first.

    So a row that changed before its page was read is listed at the end. One that changed afterwards is there again.
    """

    def __init__(
        self, kind: type[T], rows: Rows, changed_at: InstrumentedAttribute[datetime], row_id: Any, *, counted: Rows
    ) -> None:
        super().__init__(kind, rows, descending(changed_at), descending(row_id), counted=counted)
        place = tuple_(bindparam("late_after", type_=changed_at.type), bindparam("late_after_id", type_=row_id.type))
        self._late = (
            rows.where(tuple_(changed_at, row_id) > place)
            .order_by(changed_at, row_id)
            .limit(bindparam("limit", type_=BigInteger))
        )

    async def page(self, runner: StatementRunner, parameters: Mapping[str, Any], request: PageRequest) -> Page[T]:
        """Return the requested page. Raises InvalidRequest for a cursor of another list."""
        if request.cursor is None:
            page = await super().page(runner, parameters, request)
            if page.cursor is None:
                return page
            # The time is read before the rows: a change that is committed in between is listed twice, not never.
            since = await runner.value(UNTIL, {"since": datetime.now(UTC) - HIDDEN_TRANSACTION})
            again = await super().page(runner, parameters, msgspec.structs.replace(request, total=False))
            page = msgspec.structs.replace(again, total=page.total)
            if page.cursor is None:
                return page
            place = Place(*msgspec.json.decode(decode_cursor(page.cursor), type=tuple[datetime, UUID]), since)
            return msgspec.structs.replace(page, cursor=encode_cursor(place))
        if request.offset:
            raise InvalidRequest([{"field": "offset", "message": "Not allowed together with cursor"}])
        place = _place(request.cursor)
        limited = {**parameters, "limit": request.limit + 1}
        rows: Sequence[Any] = []
        if not place.is_late:
            rows = await runner.rows(self.after, {**limited, "after_0": place.changed_at, "after_1": place.id})
        first_late = len(rows)
        if first_late <= request.limit:
            after = (place.changed_at, place.id) if place.is_late else (place.since, FIRST_ID)
            late = {
                **limited,
                "limit": request.limit + 1 - first_late,
                "late_after": after[0],
                "late_after_id": after[1],
            }
            rows = [*rows, *await runner.rows(self._late, late)]
        total = await runner.value(self.count, parameters) if request.total else None
        cursor = None
        if len(rows) > request.limit:
            changed_at, row_id = self.key_of(rows[request.limit - 1])
            is_late = place.is_late or request.limit > first_late
            cursor = encode_cursor(Place(changed_at, row_id, place.since, is_late))
        return Page([self.struct_of(row) for row in rows[: request.limit]], cursor, total)


def _place(cursor: str) -> Place:
    try:
        return msgspec.json.decode(decode_cursor(cursor), type=Place)
    except ValueError:
        raise InvalidRequest([{"field": "cursor", "message": "Expected the one of a Link of this list"}]) from None
