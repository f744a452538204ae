"""MyAnimeList's export, as that site and others write it: a reader of its rows, and a writer."""

import math
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.catalogue.anime import AnimeType
from kitsu.domain.viewer.library import LibraryEntry, Status
from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, NotImported
from kitsu.domain.viewer.list_import.myanimelist_xml import MAX_TEXT
from kitsu.domain.viewer.list_import.values import MAX_TAGS, MAX_TITLE, clean_text, format_date, parse_time, quote

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
_BLANKS = re.compile(r"[\s_-]+")
# Other sites write "On Hold", "on_hold" or the number.
_STATUSES = {_BLANKS.sub("", word.lower()): status for status, word in _STATUS_WORDS.items()}
_TOTALS = {f"user_total_{word}": status for word, status in _STATUSES.items()}
_STATUSES |= dict(zip("12346", _STATUS_WORDS, strict=True))

_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?")
_DIGITS = re.compile(r"[0-9]{1,20}")


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
        "my_score": math.floor((entry.score or 0) + 0.5),  # whole points there
        "my_storage": "",
        "my_storage_value": "0.00",
        "my_status": _STATUS_WORDS[entry.status],
        "my_comments": _cdata(entry.notes or ""),
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
    try:
        return _entry(number, fields)
    except EntryError as error:
        return NotImported(number, fields["series_title"][:MAX_TITLE] or None, str(error), None)


def _entry(number: int, fields: Mapping[str, str]) -> ListEntry:
    overlong = next((name for name, text in fields.items() if len(text) > MAX_TEXT), None)
    if overlong:
        raise EntryError(f"Its `{overlong}` is longer than {MAX_TEXT:,} characters.")
    anime_id = _whole_number(fields, "series_animedb_id")
    if not anime_id:
        raise EntryError("It has no MyAnimeList id.")
    word = fields["my_status"].strip()
    if not word:
        raise EntryError("It has no status.")
    status = _STATUSES.get(_BLANKS.sub("", word.lower()))
    if status is None:
        raise EntryError(f"Its status {quote(word)} is not one of MyAnimeList's.")
    if len(fields["my_tags"]) > MAX_TAGS:
        raise EntryError(f"Its `my_tags` is longer than {MAX_TAGS:,} characters.")
    updated_at = fields["my_last_updated"].strip()
    return ListEntry(
        number=number,
        title=fields["series_title"][:MAX_TITLE],
        ids=(("myanimelist", str(anime_id)),),
        status=status,
        score=_whole_number(fields, "my_score", maximum=10) or None,
        notes=fields["my_comments"] or None,
        episodes_watched=_whole_number(fields, "my_watched_episodes"),
        started_on=_date(fields["my_start_date"]),
        completed_on=_date(fields["my_finish_date"]),
        times_rewatched=_whole_number(fields, "my_times_watched"),
        is_rewatching=fields["my_rewatching"].strip().lower() in {"1", "yes", "true"},
        tags=fields["my_tags"] or None,
        updated_at=parse_time(int(updated_at)) if _DIGITS.fullmatch(updated_at) else None,
    )


def _whole_number(fields: Mapping[str, str], name: str, maximum: int = MAX_INTEGER) -> int:
    text = fields[name].strip()
    if text and not (_DIGITS.fullmatch(text) and int(text) <= maximum):
        raise EntryError(f"Its `{name}` {quote(text)} is not a whole number from 0 to {maximum}.")
    return int(text or 0)


def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text.strip())
    return format_date(int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None
