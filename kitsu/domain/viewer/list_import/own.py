"""Kitsu's own JSON: `GET /library/export`, `GET /users/me/export`, and pages of `GET /library`."""

from typing import Any
from uuid import UUID

from kitsu.domain.viewer.list_import.entries import ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, items, mapping, members
from kitsu.domain.viewer.list_import.rows import Row, Rows, read_rows
from kitsu.domain.viewer.list_import.values import first_title


def matches(document: Value) -> bool:
    """Return whether the file has entries of Kitsu, or is an export without any."""
    first = [members(each) for each in _rows(document)[:1]]
    return any("entry" in each or {"anime_id", "status"} <= each.keys() for each in first) or (
        not first and "exported_at" in members(document)
    )


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return read_rows(_rows(document), lambda values: first_title(_anime(values).get("title")), _read_row)


def _rows(document: Value) -> list[Value]:
    fields = members(document)
    return items(fields.get("entries")) or items(fields.get("library")) or items(document)


def _anime(values: dict[str, Any]) -> dict[str, Any]:
    return mapping(_entry(values).get("anime"))


def _entry(values: dict[str, Any]) -> dict[str, Any]:
    return mapping(values.get("entry", values))


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    entry, anime = _entry(values), _anime(values)
    row = own_row(entry)
    external = mapping(values.get("external_ids") or entry.get("external_ids") or anime.get("external_ids"))
    ids = [(str(provider), each) for provider, each in external.items() if isinstance(each, str)]
    changed_at = entry.get("updated_at")
    return row.entry(
        number,
        title,
        ids,
        anime_id=read_uuid(entry.get("anime_id")),
        year=anime.get("year"),
        updated_at=changed_at,
        has_exact_numbers=not entry.get("all_episodes"),
    )


def own_row(values: dict[str, Any]) -> Row:
    """Return a row whose values have Kitsu's names. Raises EntryError."""
    row = Row(values)
    row.status(values.get("status"))
    row.rewatching("is_rewatching")
    row.score("score", keeps_decimal=True)
    for name in ("notes", "tags"):
        row.text(name, name)
    for name in ("episodes_watched", "times_rewatched"):
        row.count(name, name)
    for name in ("started_on", "completed_on"):
        row.date(name, name)
    return row


def read_uuid(value: object) -> UUID | None:
    """Return an id, None for anything else."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
