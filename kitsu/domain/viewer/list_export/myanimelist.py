"""The XML that MyAnimeList imports, and that Kitsu reads as well."""

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

from kitsu.domain.catalogue.anime import AnimeType
from kitsu.domain.viewer.library import Status
from kitsu.domain.viewer.list_import.entries import ListEntry
from kitsu.domain.viewer.list_import.myanimelist import STATUS_WORDS
from kitsu.domain.viewer.list_import.values import clean_text, html_of_text, squeezed

PROVIDER = "myanimelist"
TAIL = b"</myanimelist>\n"
_TYPE_WORDS: dict[AnimeType, str] = {"MOVIE": "Movie", "SPECIAL": "Special", "UNKNOWN": "Unknown"}
"""The other types have the same name on both sites."""
_TOTALS = {f"user_total_{squeezed(word)}": status for status, word in STATUS_WORDS.items()}
_FIELDS = {
    "my_watched_episodes": "episodes_watched",
    "my_start_date": "started_on",
    "my_finish_date": "completed_on",
    "my_score": "score",
    "my_comments": "notes",
    "my_times_watched": "times_rewatched",
    "my_tags": "tags",
    "my_rewatching": "is_rewatching",
}
_NOTE = (
    "Written by Kitsu for MyAnimeList. Left out: decimals of scores, times of changes, and entries without an id of "
    "MyAnimeList ({}), which comments name."
)


def head(user_name: str, totals: Mapping[Status, int], left_out: int) -> bytes:
    """Return the start of a file. `totals` has the number of entries of each status without those that are left out."""
    values = {
        "user_id": "",
        "user_name": escape(clean_text(user_name)),
        "user_export_type": 1,
        "user_total_anime": sum(totals.values()),
        **{name: totals.get(status, 0) for name, status in _TOTALS.items()},
    }
    start = f'<?xml version="1.0" encoding="UTF-8" ?>\n{_comment(_NOTE.format(left_out))}<myanimelist>\n'
    return start.encode() + _element("myinfo", values)


def element(
    entry: ListEntry, kind: AnimeType = "UNKNOWN", episode_count: int | None = None, *, with_time: bool = False
) -> bytes:
    """Return the `<anime>` element of an entry. `with_time` adds when it was changed, which MyAnimeList ignores."""
    myanimelist_id = dict(entry.ids)[PROVIDER]
    values = {
        "series_animedb_id": escape(myanimelist_id),
        "series_title": _cdata(entry.title),
        "series_type": _TYPE_WORDS.get(kind, kind),
        "series_episodes": episode_count or 0,
        "my_id": "",
        "my_watched_episodes": entry.episodes_watched,
        "my_start_date": _full_date(entry.started_on or ""),
        "my_finish_date": _full_date(entry.completed_on or ""),
        "my_rated": "",
        "my_score": math.floor((entry.score or 0) + 0.5),  # the site has whole points
        "my_storage": "",
        "my_storage_value": "0.00",
        # The site has no status for an anime that is watched again.
        "my_status": STATUS_WORDS["completed" if entry.is_rewatching else entry.status],
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
    if with_time and entry.updated_at:
        values["my_last_updated"] = int(entry.updated_at.timestamp())
    return _element("anime", {name: value for name, value in values.items() if _FIELDS.get(name) not in entry.absent})


def left_out(entry: ListEntry) -> bytes:
    """Return a comment that names an entry without an id of MyAnimeList."""
    return b"\t" + _comment(f"Left out, without an id of MyAnimeList: {entry.title}").encode()


def _comment(text: str) -> str:
    # "--" ends a comment.
    return f"<!-- {clean_text(text).replace('--', '- -').replace('--', '- -')} -->\n"


def _element(name: str, values: Mapping[str, object]) -> bytes:
    inside = "".join(f"\t\t<{each}>{value}</{each}>\n" for each, value in values.items())
    return f"\t<{name}>\n{inside}\t</{name}>\n".encode()


def _cdata(text: str) -> str:
    # A parser reads a bare carriage return as a line feed.
    text = clean_text(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return f"<![CDATA[{text}]]>"


def _full_date(known: str) -> str:
    return known + "0000-00-00"[len(known) :]
