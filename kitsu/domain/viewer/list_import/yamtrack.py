"""Yamtrack's CSV: a row for each time that a medium was watched."""

from typing import Any

import msgspec

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, NotImported
from kitsu.domain.viewer.list_import.rows import Row, Rows, read_rows
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, quote, read_id, squeezed

COLUMNS = {"media_id", "source", "media_type", "status"}
_SOURCES = {
    "mal": "myanimelist",
    "myanimelist": "myanimelist",
    "anilist": "anilist",
    "kitsu": "kitsu",
    "anidb": "anidb",
}


def read(rows: Any) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return _joined(read_rows(rows, lambda values: first_title(values.get("title")), _read_row))


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    kind = values.get("media_type")
    if is_manga(kind):
        raise EntryError(MANGA)
    if squeezed(kind) != "anime":
        raise EntryError(f"Its `media_type` is {quote(kind)}, not anime.")
    row = Row(values)
    row.status(values.get("status"))
    row.score("score")
    row.text("notes", "notes")
    row.count("episodes_watched", "progress")
    row.count("times_rewatched", "repeats")
    row.date("started_on", "start_date")
    row.date("completed_on", "end_date")
    provider = _SOURCES.get(squeezed(values.get("source")))
    ids = [(provider, read_id(values.get("media_id")))] if provider else []
    changed_at = values.get("progressed_at") or values.get("created_at")
    return row.entry(number, title, ids, updated_at=changed_at)


def _joined(rows: Rows) -> Rows:
    """Join the rows of an anime, each at the place of its first row."""
    groups: dict[object, list[ListEntry]] = {}
    for row in rows:
        if isinstance(row, ListEntry):
            groups.setdefault(row.ids or row.title, []).append(row)
    entries = {group[0].number: _join(group) for group in groups.values()}
    return [entries.pop(row.number, row) for row in rows if row.number in entries or isinstance(row, NotImported)]


def _join(group: list[ListEntry]) -> ListEntry:
    """Return one entry. All but the first time that the anime was completed are repetitions."""
    if len(group) == 1:
        return group[0]
    completed = [entry for entry in group if entry.status == "completed"]
    begun = next((entry for entry in group if entry.status == "watching"), None)
    latest = begun or (completed or group)[-1]
    return msgspec.structs.replace(
        latest,
        number=group[0].number,
        score=next((entry.score for entry in reversed(group) if entry.score), None),
        notes=latest.notes or next((entry.notes for entry in group if entry.notes), None),
        started_on=min((entry.started_on for entry in group if entry.started_on), default=None),
        completed_on=max((entry.completed_on for entry in group if entry.completed_on), default=None),
        times_rewatched=max(len(completed) - 1, latest.times_rewatched),
        is_rewatching=bool(begun and completed),
        absent=frozenset[str]().union(*(entry.absent for entry in group)) - {"times_rewatched"},
        remarks=(
            f"The {len(group)} rows of this anime became one entry.",
            *(each for entry in group for each in entry.remarks),
        ),
    )
