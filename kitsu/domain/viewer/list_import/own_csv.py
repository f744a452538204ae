"""Kitsu's own CSV, of `GET /library/export?format=csv`."""

from typing import Any

from kitsu.domain.viewer.list_import.entries import ListEntry
from kitsu.domain.viewer.list_import.own import own_row, read_uuid
from kitsu.domain.viewer.list_import.rows import Rows, read_rows
from kitsu.domain.viewer.list_import.values import first_title

COLUMNS = {"status", "anime_id", "external_ids"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def guarded(text: str) -> str:
    """Return a text in the form of a cell. An apostrophe keeps a spreadsheet from taking it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def read(rows: Any) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return read_rows(({name: _unguarded(value) for name, value in row.items()} for row in rows), _title, _read_row)


def _unguarded(cell: Any) -> Any:
    is_guarded = isinstance(cell, str) and cell.startswith("'") and cell[1:].startswith(_FORMULA)
    return cell[1:] if is_guarded else cell


def _title(values: dict[str, Any]) -> str:
    return first_title(values.get("title"))


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    row = own_row(values)
    pairs = (each.partition(":") for each in (values["external_ids"] or "").split())
    return row.entry(
        number,
        title,
        [(provider, external_id) for provider, _, external_id in pairs],
        anime_id=read_uuid(values["anime_id"]),
        year=values.get("year"),
        updated_at=values.get("updated_at"),
        has_exact_numbers=bool(values.get("episodes_watched")),
    )
