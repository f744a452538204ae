"""The JSON of MyAnimeList's API: pages of `node` and `list_status`."""

from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, items, mapping, members, pages
from kitsu.domain.viewer.list_import.rows import Row, Rows, read_rows
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, read_id


def matches(document: Value) -> bool:
    """Return whether the file has pages of nodes."""
    return any("node" in members(each) for page in pages(document)[:1] for each in items(members(page).get("data"))[:1])


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    rows = (row for page in pages(document) for row in items(members(page).get("data")))
    return read_rows(rows, lambda values: first_title(mapping(values.get("node")).get("title")), _read_row)


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    node = mapping(values.get("node"))
    state = mapping(values.get("list_status") or node.get("my_list_status"))
    if is_manga(node.get("media_type")) or "num_chapters_read" in state:
        raise EntryError(MANGA)
    tags = state.get("tags")
    row = Row({**state, "tags": ", ".join(map(str, tags))} if isinstance(tags, list) else state)
    row.status(state.get("status"))
    row.rewatching("is_rewatching")
    row.score("score")
    row.text("notes", "comments")
    row.text("tags", "tags")
    row.count("episodes_watched", "num_episodes_watched")
    row.count("times_rewatched", "num_times_rewatched")
    row.date("started_on", "start_date")
    row.date("completed_on", "finish_date")
    year = mapping(node.get("start_season")).get("year")
    ids = [("myanimelist", read_id(node.get("id")))]
    return row.entry(number, title, ids, year=year, updated_at=state.get("updated_at"))
