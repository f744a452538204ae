"""From a row to a Struct: the columns are found by name, once for each statement."""

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

    Fields that are Structs themselves come last, and are made of the columns of `nested`. Raises KeyError for a field
    without a column.
    """
    places = {str(column.key): place for place, column in enumerate(rows.selected_columns)}
    return _mapper(kind, places, "")


def _mapper(kind: Any, places: dict[str, int], prefix: str) -> Callable[[Sequence[Any]], Any]:
    fields = msgspec.structs.fields(kind)
    inner = [each for each in fields if isinstance(each.type, type) and issubclass(each.type, msgspec.Struct)]
    own = itemgetter(*(places[prefix + each.name] for each in fields if each not in inner))
    if not inner:
        return lambda row: kind(*own(row))
    (field,) = inner
    nested_of = _mapper(field.type, places, f"{prefix}{field.name}__")
    return lambda row: kind(*own(row), nested_of(row))
