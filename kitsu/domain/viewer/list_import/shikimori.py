"""Shikimori's JSON: the exported `animes.json`, and the rates of its API. Its anime have the ids of MyAnimeList."""

from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, items, mapping, members
from kitsu.domain.viewer.list_import.rows import Row, Rows, read_rows
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, read_id, read_number


def matches(document: Value) -> bool:
    """Return whether the file is an array of rates."""
    return any({"rewatches", "target_id"} & members(each).keys() for each in items(document)[:1])


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return read_rows(items(document), _title, _read_row)


def _title(values: dict[str, Any]) -> str:
    medium = mapping(values.get("anime")) or mapping(values.get("manga"))
    return first_title(
        *(values.get(name) for name in ("target_title", "target_title_ru")),
        *(medium.get(name) for name in ("name", "russian")),
    )


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    is_read = any(read_number(values.get(name)) for name in ("chapters", "volumes"))
    if is_manga(values.get("target_type")) or values.get("manga") or is_read:
        raise EntryError(MANGA)
    row = Row(values)
    row.status(values.get("status"))
    row.score("score")
    row.text("notes", "text")
    row.count("episodes_watched", "episodes")
    row.count("times_rewatched", "rewatches")
    anime_id = read_id(values.get("target_id")) or read_id(mapping(values.get("anime")).get("id"))
    return row.entry(number, title, [("myanimelist", anime_id)], updated_at=values.get("updated_at"))
