"""Pages of a list, by offset or by cursor.

A cursor contains the values that the last row of a page is sorted by. So the next page begins after this row whatever
is inserted meanwhile, and costs as much as the first one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import GenericAlias
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, func, or_, select, tuple_

from kitsu.db.statements import StatementReader
from kitsu.domain.mapping import Rows, mapper
from kitsu.errors import InvalidRequest

T = TypeVar("T")
MAX_TOTAL = 100_000  # lists are counted up to this, since the cost grows with each row


_WITH_OFFSET = [{"field": "offset", "message": "Not allowed together with cursor"}]


class PageRequest(msgspec.Struct, frozen=True):
    limit: int = 20
    offset: int = 0
    total: bool = False
    cursor: str | None = None  # that of an earlier page, instead of an offset


class Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]
    cursor: str | None  # that of the next page, or None on the last page
    total: int | None = None  # the length of the whole list if requested; at most MAX_TOTAL


def encode_cursor(place: Any) -> str:
    """Return a cursor that may be part of a URL."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> bytes:
    """Return the JSON in a cursor. Raises ValueError."""
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


class Key(NamedTuple):
    """A sort key; the last key of a list is unique."""

    column: Any
    descending: bool
    unknown_last: bool = False  # whether the column may be null, which sorts last; only for the first key of a list

    @property
    def order(self) -> ColumnElement[Any]:
        """The expression for ORDER BY."""
        ordered: ColumnElement[Any] = self.column.desc() if self.descending else self.column.asc()
        return ordered.nulls_last() if self.unknown_last else ordered


ascending = partial(Key, descending=False)
descending = partial(Key, descending=True)


class Listing(Generic[T]):
    def __init__(self, kind: type[T] | Callable[[Sequence[Any]], T], rows: Rows, *keys: Key, counted: Rows) -> None:
        """`kind` is the Struct of a row or converts a row; `counted` selects the same rows for the total."""
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        self.struct_of: Callable[[Sequence[Any]], T] = mapper(kind, rows) if is_struct else kind  # type: ignore[arg-type]
        rows = rows.add_columns(*_missing(rows, keys))
        columns = list(rows.selected_columns)
        self._positions = [next(at for at, column in enumerate(columns) if _is_same(column, key)) for key in keys]
        types = [key.column.type.python_type for key in keys]
        self._after = _limited(rows.where(_is_after(keys, 0)), keys)
        self._has_unknown = keys[0].unknown_last
        if self._has_unknown:
            types[0] |= None
            self._unknown = _limited(rows.where(keys[0].column.is_(None)), keys[1:])
            self._unknown_after = self._unknown.where(_is_after(keys[1:], 1))
        self._decoder = msgspec.json.Decoder(GenericAlias(tuple, tuple(types)))
        self.first = _limited(rows, keys).offset(bindparam("offset", type_=BigInteger))
        """The statement of a page by `limit` and `offset`."""
        self.count = select(func.count()).select_from(counted.limit(MAX_TOTAL).subquery())

    async def page(self, runner: StatementReader, parameters: Mapping[str, Any], request: PageRequest) -> Page[T]:
        """Return the requested page. Raises InvalidRequest for a cursor of another list."""
        rows, place = await self._read(runner, parameters, request)
        total = await runner.value(self.count, parameters) if request.total else None
        return Page([self.struct_of(row) for row in rows], None if place is None else encode_cursor(place), total)

    async def _read(
        self, runner: StatementReader, parameters: Mapping[str, Any], request: PageRequest
    ) -> tuple[Sequence[Any], Sequence[Any] | None]:
        """Return the rows of a page, and where the next one begins."""
        limited = {**parameters, "limit": request.limit + 1}
        if request.cursor is None:
            rows = await runner.rows(self.first, {**limited, "offset": request.offset})
        elif request.offset:
            raise InvalidRequest(_WITH_OFFSET)
        else:
            rows = await self._rows_after(runner, limited, request.cursor)
        return self._ended(rows, request.limit)

    def _ended(self, rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], Sequence[Any] | None]:
        """Return the rows of the page, and the place of the last one if more rows follow."""
        page = rows[:limit]
        return page, self._place_of(page[-1]) if len(rows) > limit else None

    def _place_of(self, row: Any) -> list[Any]:
        return [row[at] for at in self._positions]

    def _decoded(self, cursor: str) -> Sequence[Any]:
        try:
            place: Sequence[Any] = self._decoder.decode(decode_cursor(cursor))
        except ValueError:
            raise InvalidRequest([{"field": "cursor", "message": "Expected the one of a Link of this list"}]) from None
        return place

    async def _rows_after(self, runner: StatementReader, parameters: dict[str, Any], cursor: str) -> Sequence[Any]:
        place = self._decoded(cursor)
        parameters |= _after(place)
        if place[0] is None:
            return await runner.rows(self._unknown_after, parameters)
        rows = await runner.rows(self._after, parameters)
        left = parameters["limit"] - len(rows)
        if self._has_unknown and left:
            rows = [*rows, *await runner.rows(self._unknown, {**parameters, "limit": left})]
        return rows


_TOP = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


class MovingListing(Listing[T]):
    """A list by a time that grows when a row changes, and by id, newest first.

    So a row may move to pages that were read already. Behind the last page come the rows that have moved since the
    first one: a client that reads all pages misses none.
    """

    def __init__(self, kind: type[T], rows: Rows, *keys: Key, counted: Rows) -> None:
        super().__init__(kind, rows, *keys, counted=counted)
        types = [key.column.type.python_type for key in keys]
        # The last row that was read, the first one of all, and whether those that have moved are being read.
        self._decoder = msgspec.json.Decoder(GenericAlias(tuple, (*types, *types, bool)))
        oldest_first = [ascending(key.column) for key in keys]
        with_keys = rows.add_columns(*_missing(rows, keys))
        self._moved = _limited(with_keys.where(_is_after(oldest_first, 0)), oldest_first)

    async def _read(
        self, runner: StatementReader, parameters: Mapping[str, Any], request: PageRequest
    ) -> tuple[Sequence[Any], Sequence[Any] | None]:
        limited = {**parameters, "limit": request.limit + 1}
        if request.cursor is None:
            page, place = self._ended(
                await runner.rows(self.first, {**limited, "offset": request.offset}), request.limit
            )
            # A page in the midst is no beginning: what is above it has not moved.
            first = _TOP if request.offset else self._place_of(page[0]) if page else []
            return page, place and [*place, *first, False]
        if request.offset:
            raise InvalidRequest(_WITH_OFFSET)
        *place, is_moved = self._decoded(request.cursor)
        last, first = place[: len(place) // 2], place[len(place) // 2 :]
        statement = self._moved if is_moved else self._after
        page, place = self._ended(await runner.rows(statement, {**limited, **_after(last)}), request.limit)
        if place is not None:
            return page, [*place, *first, is_moved]
        has_moved = not is_moved and await runner.rows(self._moved, {**parameters, **_after(first), "limit": 1})
        return page, [*first, *first, True] if has_moved else None


def _after(place: Sequence[Any]) -> dict[str, Any]:
    return {f"after_{number}": value for number, value in enumerate(place)}


def _missing(rows: Rows, keys: Sequence[Key]) -> list[Any]:
    """Return the columns of keys that the statement does not select."""
    return [key.column for key in keys if not any(_is_same(each, key) for each in rows.selected_columns)]


def _limited(rows: Rows, keys: Sequence[Key]) -> Rows:
    return rows.order_by(*(key.order for key in keys)).limit(bindparam("limit", type_=BigInteger))


def _is_after(keys: Sequence[Key], number: int) -> ColumnElement[bool]:
    """Return the condition for rows after the cursor, whose parameters begin with this number."""
    places = [bindparam(f"after_{number + at}", type_=key.column.type) for at, key in enumerate(keys)]
    if len({key.descending for key in keys}) == 1:
        here, there = tuple_(*(key.column for key in keys)), tuple_(*places)
        return here < there if keys[0].descending else here > there
    first = keys[0].column
    beyond = first < places[0] if keys[0].descending else first > places[0]
    return or_(beyond, and_(first == places[0], _is_after(keys[1:], number + 1)))


def _is_same(selected: ColumnElement[Any], key: Key) -> bool:
    column = key.column
    return selected.shares_lineage(column.__clause_element__() if hasattr(column, "__clause_element__") else column)
