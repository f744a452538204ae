"""A page of a list: what was asked for, how it is read, and what came.

A list goes on at a cursor, which holds what the last item of a page is sorted by: whatever is put before it meanwhile,
the next page begins right behind it, and costs what the first one costs.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import GenericAlias
from typing import Any, Generic, NamedTuple, TypeGuard, TypeVar

import msgspec
from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, func, or_, select, tuple_

from kitsu.db.statements import StatementRunner
from kitsu.domain.mapping import Rows, mapper
from kitsu.errors import InvalidRequest

T = TypeVar("T")
MAX_TOTAL = 100_000
"""Lists are counted up to this; to count on would cost more with each row."""


class PageRequest(msgspec.Struct, frozen=True):
    """Which part of a list is asked for, and whether the length of all of it is."""

    limit: int = 20
    offset: int = 0
    total: bool = False
    cursor: str | None = None
    """Where an earlier page ended, instead of an offset."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list."""

    items: list[T]
    cursor: str | None
    """Where the list goes on behind this part; None: it ends."""
    total: int | None = None
    """The length of the whole list, where it was asked for; at most MAX_TOTAL."""


def cursor_of(place: Any) -> str:
    """A place in a list as a text that may stand in an address."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def json_of(cursor: str) -> bytes:
    """The place of a cursor, as JSON. Raises ValueError."""
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


class Key(NamedTuple):
    """What a list is sorted by; the last of several tells any two rows apart."""

    column: Any
    descending: bool
    unknown_last: bool = False
    """Whether it may be null, which stands last; only of the first key of a list."""

    @property
    def order(self) -> ColumnElement[Any]:
        """As ORDER BY has it."""
        if not self.descending:
            return self.column.asc()  # type: ignore[no-any-return]
        ordered = self.column.desc()
        return ordered.nulls_last() if self.unknown_last else ordered  # type: ignore[no-any-return]


def ascending(column: Any, *, unknown_last: bool = False) -> Key:
    """A key, the lowest first."""
    return Key(column, descending=False, unknown_last=unknown_last)


def descending(column: Any, *, unknown_last: bool = False) -> Key:
    """A key, the highest first."""
    return Key(column, descending=True, unknown_last=unknown_last)


class Listing(Generic[T]):
    """A list that is read in pages, by statements that are built once."""

    def __init__(self, kind: type[T] | Callable[[Sequence[Any]], T], rows: Rows, *keys: Key, counted: Rows) -> None:
        """`kind` is the Struct of a row, or what makes it of the row; `counted` are the same rows, to be counted."""
        self.struct_of: Callable[[Sequence[Any]], T] = mapper(kind, rows) if _is_struct(kind) else kind
        selected = list(rows.selected_columns)
        self._at = []
        for key in keys:
            at = next((at for at, column in enumerate(selected) if _is_same(column, key.column)), None)
            if at is None:
                at = len(selected)
                selected.append(key.column)
                rows = rows.add_columns(key.column)
            self._at.append(at)
        self._rows = rows
        self._keys = keys
        self._decoder = msgspec.json.Decoder(GenericAlias(tuple, tuple(_type_of(key) for key in keys)))
        self.first = _limited(rows, keys).offset(bindparam("offset", type_=BigInteger))
        """The statement of a page by `limit` and `offset`."""
        self.count = select(func.count()).select_from(counted.limit(MAX_TOTAL).subquery())

    async def page(self, runner: StatementRunner, parameters: Mapping[str, Any], request: PageRequest) -> Page[T]:
        """Return the page that a request asks for. Raises InvalidRequest for a cursor that is not of this list."""
        wanted = {**parameters, "limit": request.limit + 1}
        if request.cursor is None:
            rows = await runner.rows(self.first, {**wanted, "offset": request.offset})
        else:
            rows = await self._behind(runner, wanted, self._place(request))
        total = await runner.value(self.count, parameters) if request.total else None
        more = len(rows) > request.limit
        shown = rows[: request.limit]
        items = [self.struct_of(row) for row in shown]
        return Page(items, self._cursor_at(shown[-1]) if more else None, total)

    async def _behind(self, runner: StatementRunner, wanted: dict[str, Any], place: Sequence[Any]) -> Sequence[Any]:
        wanted |= {f"after_{number}": value for number, value in enumerate(place)}
        if place[0] is None:
            return await runner.rows(self._behind_unknown, wanted)
        rows = await runner.rows(self._behind_known, wanted)
        if self._keys[0].unknown_last and len(rows) < wanted["limit"]:
            rows = [*rows, *await runner.rows(self._unknown, {**wanted, "limit": wanted["limit"] - len(rows)})]
        return rows

    @cached_property
    def _behind_known(self) -> Rows:
        return _limited(self._rows.where(_is_behind(self._keys, 0)), self._keys)

    @cached_property
    def _behind_unknown(self) -> Rows:
        return self._unknown.where(_is_behind(self._keys[1:], 1))

    @cached_property
    def _unknown(self) -> Rows:
        return _limited(self._rows.where(self._keys[0].column.is_(None)), self._keys[1:])

    def _cursor_at(self, row: Sequence[Any]) -> str:
        return cursor_of([row[at] for at in self._at])

    def _place(self, request: PageRequest) -> Sequence[Any]:
        if request.offset:
            raise InvalidRequest([{"field": "offset", "message": "A cursor says where a page begins"}])
        try:
            place: Sequence[Any] = self._decoder.decode(json_of(request.cursor or ""))
        except ValueError:
            raise InvalidRequest([{"field": "cursor", "message": "Expected the one of a Link of this list"}]) from None
        return place


def _is_struct(kind: object) -> TypeGuard[type[Any]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _limited(rows: Rows, keys: Sequence[Key]) -> Rows:
    return rows.order_by(*(key.order for key in keys)).limit(bindparam("limit", type_=BigInteger))


def _is_behind(keys: Sequence[Key], number: int) -> ColumnElement[bool]:
    """Whether a row stands behind the place of the cursor, whose parameters begin with this number."""
    places = [bindparam(f"after_{number + at}", type_=key.column.type) for at, key in enumerate(keys)]
    if len({key.descending for key in keys}) == 1:
        here, there = tuple_(*(key.column for key in keys)), tuple_(*places)
        return here < there if keys[0].descending else here > there
    first = keys[0].column
    beyond = first < places[0] if keys[0].descending else first > places[0]
    return or_(beyond, and_(first == places[0], _is_behind(keys[1:], number + 1)))


def _is_same(column: ColumnElement[Any], key: Any) -> bool:
    return column.shares_lineage(key.__clause_element__() if hasattr(key, "__clause_element__") else key)


def _type_of(key: Key) -> Any:
    python_type = key.column.type.python_type
    return python_type | None if key.unknown_last else python_type
