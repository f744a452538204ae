"""MyAnimeList's export, as that site and others write it: a reader of its rows, and a writer."""

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

from kitsu.domain.catalogue.anime import AnimeType
from kitsu.domain.viewer.library import LibraryEntry, Status
from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, NotImported
from kitsu.domain.viewer.list_import.myanimelist_xml import MAX_TEXT
from kitsu.domain.viewer.list_import.rows import Row
from kitsu.domain.viewer.list_import.values import (
    MANGA,
    clean_text,
    first_title,
    html_of_text,
    is_manga,
    read_id,
    squeezed,
    text_of_html,
)

EXPORT_TAIL = b"</myanimelist>\n"
_STATUS_WORDS: dict[Status, str] = {
    "watching": "Watching",
    "completed": "Completed",
    "on_hold": "On-Hold",
    "dropped": "Dropped",
    "plan_to_watch": "Plan to Watch",
}
_TYPE_WORDS: dict[AnimeType, str] = {"MOVIE": "Movie", "SPECIAL": "Special", "UNKNOWN": "Unknown"}
"""The other types have the same name on both sites."""
_TOTALS = {f"user_total_{squeezed(word)}": status for status, word in _STATUS_WORDS.items()}
# Converters write the numbers of MyAnimeList's API.
_NUMBERS = dict(zip("12346", _STATUS_WORDS.values(), strict=True))


def export_head(user_name: str, totals: Mapping[Status, int]) -> bytes:
    """Return the start of a file for MyAnimeList; `totals` has the number of entries of each status."""
    values = {
        "user_id": "",
        "user_name": escape(clean_text(user_name)),
        "user_export_type": 1,
        "user_total_anime": sum(totals.values()),
        **{name: totals.get(status, 0) for name, status in _TOTALS.items()},
    }
    return b'<?xml version="1.0" encoding="UTF-8" ?>\n<myanimelist>\n' + _element("myinfo", values)


def export_entry(entry: LibraryEntry, myanimelist_id: str) -> bytes:
    """Return the `<anime>` element of an entry."""
    values = {
        "series_animedb_id": escape(myanimelist_id),
        "series_title": _cdata(entry.anime.title),
        "series_type": _TYPE_WORDS.get(entry.anime.type, entry.anime.type),
        "series_episodes": entry.anime.episode_count or 0,
        "my_id": "",
        "my_watched_episodes": entry.episodes_watched,
        "my_start_date": _full_date(entry.started_on or ""),
        "my_finish_date": _full_date(entry.completed_on or ""),
        "my_rated": "",
        "my_score": math.floor((entry.score or 0) + 0.5),  # the site has whole points
        "my_storage": "",
        "my_storage_value": "0.00",
        "my_status": _STATUS_WORDS[entry.status],
        "my_comments": _cdata(html_of_text(entry.notes or "")),
        "my_times_watched": entry.times_rewatched,
        "my_rewatch_value": "",
        "my_priority": "LOW",
        "my_tags": _cdata(entry.tags or ""),
        "my_rewatching": int(entry.is_rewatching),
        "my_rewatching_ep": 0,
        "my_discuss": 1,
        "my_sns": "default",
        "update_on_import": 1,
    }
    return _element("anime", values)


def _element(name: str, values: Mapping[str, object]) -> bytes:
    inside = "".join(f"\t\t<{each}>{value}</{each}>\n" for each, value in values.items())
    return f"\t<{name}>\n{inside}\t</{name}>\n".encode()


def _cdata(text: str) -> str:
    # A parser reads a bare carriage return as a line feed.
    text = clean_text(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return f"<![CDATA[{text}]]>"


def _full_date(known: str) -> str:
    return known + "0000-00-00"[len(known) :]


def read_entry(number: int, fields: Mapping[str, str]) -> ListEntry | NotImported:
    """Return the entry of a row."""
    title = first_title(fields.get("series_title"), fields.get("manga_title"))
    try:
        return _entry(number, title, fields)
    except EntryError as error:
        return NotImported(number, title or None, str(error), None)


def _entry(number: int, title: str, fields: Mapping[str, str]) -> ListEntry:
    if "manga_mangadb_id" in fields or is_manga(fields.get("series_type")):
        raise EntryError(MANGA)
    overlong = next((name for name, text in fields.items() if len(text) > MAX_TEXT), None)
    if overlong:
        raise EntryError(f"Its `{overlong}` is longer than {MAX_TEXT:,} characters.")
    anime_id = read_id(fields.get("series_animedb_id"))
    if not anime_id:
        raise EntryError("It has no MyAnimeList id.")
    row = Row({**fields, "my_comments": text_of_html(fields["my_comments"])} if "my_comments" in fields else fields)
    # Shikimori's own word says more than the one that it writes for MyAnimeList.
    word = fields.get("shiki_status", "").strip() or fields.get("my_status", "").strip()
    row.status(_NUMBERS.get(word, word))
    row.rewatching("my_rewatching")
    row.score("my_score")
    row.text("notes", "my_comments")
    row.text("tags", "my_tags")
    row.count("episodes_watched", "my_watched_episodes")
    row.count("times_rewatched", "my_times_watched")
    row.date("started_on", "my_start_date")
    row.date("completed_on", "my_finish_date")
    return row.entry(number, title, [("myanimelist", anime_id)], updated_at=fields.get("my_last_updated"))
