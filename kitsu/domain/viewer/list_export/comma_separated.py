"""The CSV of a library, for spreadsheets and for imports."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry
from kitsu.domain.viewer.list_import.own_csv import guarded

_LINKED = ("myanimelist", "anilist")
"""Providers whose ids have a column of their own."""
COLUMNS = (
    *("title", "year"),
    *LibraryFields.__struct_fields__,
    *("updated_at", "anime_id"),
    *(f"{provider}_id" for provider in _LINKED),
    "external_ids",
)


def header(columns: Iterable[str] = COLUMNS) -> bytes:
    """Return the first line, with the names of the columns."""
    return _encoded([columns])


def lines(entries: Iterable[ListEntry], columns: Iterable[str] = COLUMNS) -> bytes:
    """Return the lines of entries, without the header."""
    wanted = tuple(columns)
    return _encoded([[cells[name] for name in wanted] for cells in map(_cells, entries)])


def _cells(entry: ListEntry) -> dict[str, str]:
    ids = dict(reversed(entry.ids))  # of several ids of a provider the first is the best
    values: dict[str, Any] = {
        **{name: getattr(entry, name) for name in LibraryFields.__struct_fields__},
        "title": entry.title,
        "year": entry.year,
        "updated_at": entry.updated_at and entry.updated_at.isoformat(),
        "anime_id": entry.anime_id,
        **{f"{provider}_id": ids.get(provider) for provider in _LINKED},
        "external_ids": " ".join(f"{provider}:{external_id}" for provider, external_id in sorted(ids.items())),
    }
    if entry.all_episodes:
        values["episodes_watched"] = None
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else guarded(str(value))


def _encoded(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
