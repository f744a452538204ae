"""AniList's download of a user's data, `gdpr_data.json`: numbers for kinds and statuses, and scores of 100 points."""

from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, items, members
from kitsu.domain.viewer.list_import.rows import Row, Rows, of_hundred, read_rows
from kitsu.domain.viewer.list_import.values import MANGA, read_id, read_number

_STATUSES = dict(enumerate(("current", "planning", "completed", "dropped", "paused", "repeating")))
_MANGA_TYPE = 1


def matches(document: Value) -> bool:
    """Return whether the file has lists without media."""
    return any("series_id" in members(each) for each in items(members(document).get("lists"))[:1])


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return read_rows(items(members(document)["lists"]), lambda _: "", _read_row)


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    if read_number(values.get("series_type")) == _MANGA_TYPE:
        raise EntryError(MANGA)
    row = Row(values)
    status = values.get("status")
    row.status(_STATUSES.get(status, status) if isinstance(status, int) else status)
    row.score("score", of_hundred)
    row.text("notes", "notes")
    row.count("episodes_watched", "progress")
    row.count("times_rewatched", "repeat")
    row.date("started_on", "started_on")
    row.date("completed_on", "finished_on")
    ids = [("anilist", read_id(values.get("series_id")))]
    return row.entry(number, title, ids, updated_at=values.get("updated_at"))
