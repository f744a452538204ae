"""From a row to a Struct: the columns are found by name, once for each statement. From a Struct to what it changes."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Label, Select

T = TypeVar("T")
Rows = Select[*tuple[Any, ...]]


def columns_of(kind: type[msgspec.Struct], model: Any, **others: Any) -> list[Any]:
    """Return the columns of a model that a Struct has fields for, or what `others` has in their place."""
    return [
        others[name].label(name) if name in others else getattr(model, name)
        for name in kind.__struct_fields__
        if name in others or hasattr(model, name)
    ]


def nested(field: str, columns: Sequence[Any]) -> list[Label[Any]]:
    """Return the columns under the names by which `mapper` finds those of a field that is a Struct itself."""
    return [column.label(f"{field}__{column.key}") for column in columns]


def mapper(kind: type[T], rows: Rows) -> Callable[[Sequence[Any]], T]:
    """Return what makes a Struct of a row of this statement; further columns behind are ignored.

    One field may be a Struct itself: it comes last, and is made of the columns of `nested`. Raises KeyError for a field
    without a column.
    """
    make: Any = kind
    places = {str(column.key): place for place, column in enumerate(rows.selected_columns)}
    fields = msgspec.structs.fields(make)
    inner = fields[-1]
    if not (isinstance(inner.type, type) and issubclass(inner.type, msgspec.Struct)):
        own = _getter(places, [each.name for each in fields])
        return lambda row: make(*own(row))
    own = _getter(places, [each.name for each in fields[:-1]])
    inner_kind: Any = inner.type
    inner_own = _getter(places, [f"{inner.name}__{name}" for name in inner_kind.__struct_fields__])
    return lambda row: make(*own(row), inner_kind(*inner_own(row)))


def given(change: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a change that the client gave: those that are not UNSET."""
    return {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not msgspec.UNSET}


def _getter(places: dict[str, int], names: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    found = [places[name] for name in names]
    if found == list(range(found[0], found[0] + len(found))):
        return itemgetter(slice(found[0], found[-1] + 1))  # one call into the row instead of one for each column
    return itemgetter(*found)
