"""Simkl's backup, and the response of its API: `anime`, `shows` and `movies`."""

from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, decoded, items, mapping, members
from kitsu.domain.viewer.list_import.rows import Row, Rows, read_rows
from kitsu.domain.viewer.list_import.values import first_title, read_id, read_time

_SECTIONS = ("anime", "shows", "movies")
_PROVIDERS = {
    "simkl": "simkl",
    "simkl_id": "simkl",
    "mal": "myanimelist",
    "anilist": "anilist",
    "anidb": "anidb",
    "kitsu": "kitsu",
    "livechart": "livechart",
    "anisearch": "anisearch",
    "ann": "animenewsnetwork",
}
_TIMES = ("last_watched_at", "user_rated_at", "added_to_watchlist_at")


def matches(document: Value) -> bool:
    """Return whether the file has sections whose rows have a `show` or a `movie` beside a status."""
    fields = members(document)
    first = [members(each) for name in _SECTIONS for each in items(fields.get(name))[:1]]
    return any("status" in each and {"show", "movie", "anime"} & each.keys() for each in first) or (
        not first and set(_SECTIONS) <= fields.keys()
    )


def read(document: Value) -> Rows:
    """Return the entries; series and films that Simkl does not list as anime are not imported. Raises ListTooLarge."""
    fields = members(document)
    rows = ({**mapping(decoded(row)), "section": name} for name in _SECTIONS for row in items(fields.get(name)))
    return read_rows(rows, lambda values: first_title(_show(values).get("title")), _read_row)


def _show(values: dict[str, Any]) -> dict[str, Any]:
    return mapping(values.get("show") or values.get("movie") or values.get("anime"))


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    if values["section"] != "anime":
        raise EntryError(f"It is one of the {values['section']} of Simkl, not an anime.")
    show = _show(values)
    row = Row({**values, "notes": mapping(values.get("memo")).get("text")} if values.get("memo") else values)
    row.status(values.get("status"))
    row.score("user_rating")
    row.text("notes", "notes")
    row.count("episodes_watched", "watched_episodes_count")
    found = mapping(show.get("ids"))
    ids = {provider: read_id(found.get(name)) for name, provider in _PROVIDERS.items() if found.get(name)}
    times = [time for name in _TIMES if (time := read_time(values.get(name)))]
    changed_at = max(times).isoformat() if times else None
    return row.entry(number, title, ids.items(), year=show.get("year"), updated_at=changed_at)
