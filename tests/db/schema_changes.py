"""The changes of a schema that instances of an older version can't serve with."""

from collections.abc import Iterator

from tests.db.service_database import Schema

_KEYS = ("PRIMARY KEY", "UNIQUE", "EXCLUDE")


def breaking_changes(before: Schema, after: Schema) -> dict[str, str]:
    """Return what a migration changed, by the name of the column, constraint, index or function, and why it matters."""
    return dict(
        [*_columns(before, after), *_constraints(before, after), *_indexes(before, after), *_functions(before, after)]
    )


def _tables(schema: Schema) -> set[str]:
    return {name.partition(".")[0] for name in schema["columns"]}


def _columns(before: Schema, after: Schema) -> Iterator[tuple[str, str]]:
    tables = _tables(before)
    for name, (*type_, is_nullable, default, _collation, generated) in after["columns"].items():
        is_required = is_nullable == "NO" and default is None and generated is None
        if name not in before["columns"]:
            if is_required and name.partition(".")[0] in tables:
                yield name, "is new, NOT NULL and without a default: older versions store rows without it"
            continue
        *old_type, was_nullable, old_default, _, _ = before["columns"][name]
        if type_ != old_type:
            yield name, "has another type"
        elif is_nullable == "NO" and was_nullable == "YES":
            yield name, "is NOT NULL now: older versions may store NULL"
        elif is_required and old_default is not None:
            yield name, "has no default any more: older versions may store rows without it"
    for name in before["columns"].keys() - after["columns"].keys():
        yield name, "is gone: a renamed column or table is a new one, which both versions have to write"


def _constraints(before: Schema, after: Schema) -> Iterator[tuple[str, str]]:
    old, new = before["constraints"], after["constraints"]
    for name, (definition,) in new.items():
        if old.get(name) != (definition,) and name.partition(".")[0] in _tables(before):
            yield name, "is a new constraint: older versions may store rows against it"
    for name, (definition,) in old.items():
        if name not in new and str(definition).startswith(_KEYS):
            yield name, "is gone: ON CONFLICT of older versions may need it"


def _indexes(before: Schema, after: Schema) -> Iterator[tuple[str, str]]:
    old, new = (
        {n: d for n, (d,) in s["indexes"].items() if str(d).startswith("CREATE UNIQUE")} for s in (before, after)
    )
    for name, definition in new.items():
        if old.get(name) != definition and name.partition(".")[0] in _tables(before):
            yield name, "is a new unique index: older versions may store rows against it"
    for name in old.keys() - new.keys():
        yield name, "is gone: ON CONFLICT of older versions may need it"


def _functions(before: Schema, after: Schema) -> Iterator[tuple[str, str]]:
    for name, (definition,) in before["routines"].items():
        (new,) = after["routines"].get(name, ("",))
        # What is before the body: parameters and type.
        if str(new).partition("\nAS ")[0] != str(definition).partition("\nAS ")[0]:
            yield name, "is a function that is gone, or has other parameters or another type"
