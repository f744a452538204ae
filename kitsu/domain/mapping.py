"""Structs from rows, with the columns found by name once for each statement; and the changes in a Struct."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Label, Select

T = TypeVar("T")
Rows = Select[*tuple[Any, ...]]


def columns_of(kind: type[msgspec.Struct], model: Any, **others: Any) -> list[Any]:
    """Return the columns for the fields of a Struct: those in `others`, and those of the model by the same name."""
    return [
        others[name].label(name) if name in others else getattr(model, name)
        for name in kind.__struct_fields__
        if name in others or hasattr(model, name)
    ]


def nested(field: str, columns: Sequence[Any]) -> list[Label[Any]]:
    """Return columns with the names that `mapper` expects for a field that is a Struct."""
    return [column.label(f"{field}__{column.key}") for column in columns]


def mapper(kind: type[T], rows: Rows) -> Callable[[Sequence[Any]], T]:
    """Return a function that converts a row of the statement, which may have further columns, to a Struct.

    The last field may be a Struct, made of the columns of `nested`. Raises KeyError for a field without a column.
    """
    make: Any = kind
    places = {str(column.key): place for place, column in enumerate(rows.selected_columns)}
    *others, last = msgspec.structs.fields(make)
    names = [each.name for each in others]
    if not (isinstance(last.type, type) and issubclass(last.type, msgspec.Struct)):
        own = _getter(places, [*names, last.name])
        return lambda row: make(*own(row))
    own = _getter(places, names)
    inner_kind: Any = last.type
    inner_own = _getter(places, [f"{last.name}__{name}" for name in inner_kind.__struct_fields__])
    return lambda row: make(*own(row), inner_kind(*inner_own(row)))


def given(change: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that the client sent, which are not UNSET."""
    return {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}


def _getter(places: dict[str, int], names: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    found = [places[name] for name in names]
    if found == list(range(found[0], found[0] + len(found))):
        return itemgetter(slice(found[0], found[-1] + 1))  # one call into the row instead of one for each column
    return itemgetter(*found)
