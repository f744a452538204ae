"""MyAnimeList's export: the meaning of its rows, as that site and others write them, and a writer of the format."""

import re
from collections.abc import Mapping
from datetime import datetime
from xml.sax.saxutils import escape

from kitsu.domain.viewer.list_import.entries import (
    INT_MAX,
    MAX_TAGS,
    MAX_TITLE,
    AnimeType,
    ExportEntry,
    ListEntry,
    Refusal,
    Refused,
    Status,
    holdable,
    moment,
    reduced_date,
    shown,
)
from kitsu.domain.viewer.list_import.myanimelist_xml import MAX_TEXT, Row, read_rows

_STATUS_WORDS: dict[Status, str] = {
    "watching": "Watching",
    "completed": "Completed",
    "on_hold": "On-Hold",
    "dropped": "Dropped",
    "plan_to_watch": "Plan to Watch",
}
_TYPE_WORDS: dict[AnimeType, str] = {"MOVIE": "Movie", "SPECIAL": "Special", "UNKNOWN": "Unknown"}
"""The other types have the same name here and there."""
_BLANKS = re.compile(r"[\s_-]+")
# Other sites write "On Hold", "on_hold" or the number.
_STATUSES = {_BLANKS.sub("", word.lower()): status for status, word in _STATUS_WORDS.items()}
_TOTALS = {f"user_total_{word}": status for word, status in _STATUSES.items()}
_STATUSES |= dict(zip("12346", _STATUS_WORDS, strict=True))

_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?")
_DIGITS = re.compile(r"[0-9]{1,20}")


def read_myanimelist(data: bytes) -> list[ListEntry | Refusal]:
    """Return the entries of an export in UTF-8, whatever encoding it claims. Raises ListFileError."""
    return read_rows(data, _read)


def export_head(user_name: str, totals: Mapping[Status, int]) -> bytes:
    """Return the part of the file for MyAnimeList before the first entry; `totals` is the number of each status.

    Characters that XML can't hold are left out.
    """
    counts = "".join(f"\t\t<{name}>{totals.get(status, 0)}</{name}>\n" for name, status in _TOTALS.items())
    return (
        '<?xml version="1.0" encoding="UTF-8" ?>\n'
        "<myanimelist>\n"
        "\t<myinfo>\n"
        "\t\t<user_id></user_id>\n"
        f"\t\t<user_name>{escape(holdable(user_name))}</user_name>\n"
        "\t\t<user_export_type>1</user_export_type>\n"
        f"\t\t<user_total_anime>{sum(totals.values())}</user_total_anime>\n"
        f"{counts}"
        "\t</myinfo>\n"
    ).encode()


EXPORT_TAIL = b"</myanimelist>\n"
"""The end of that file."""


def export_entry(entry: ExportEntry) -> bytes:
    """Return the `<anime>` element of an entry."""
    values = {
        "series_animedb_id": escape(entry.myanimelist_id),
        "series_title": _cdata(entry.title),
        "series_type": _TYPE_WORDS.get(entry.type, entry.type),
        "series_episodes": entry.episodes or 0,
        "my_id": "",
        "my_watched_episodes": entry.episodes_watched,
        "my_start_date": _full_date(entry.started_on),
        "my_finish_date": _full_date(entry.completed_on),
        "my_rated": "",
        "my_score": entry.score or 0,
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
    elements = "".join(f"\t\t<{name}>{value}</{name}>\n" for name, value in values.items())
    return f"\t<anime>\n{elements}\t</anime>\n".encode()


def _cdata(text: str) -> str:
    # A parser reads a bare carriage return as a line feed.
    text = holdable(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return f"<![CDATA[{text}]]>"


def _full_date(reduced: str | None) -> str:
    known = reduced or ""
    return known + "0000-00-00"[len(known) :]


def _read(row: Row) -> ListEntry | Refusal:
    title = row.fields.get("series_title", "")[:MAX_TITLE]
    try:
        return _entry(row, title)
    except Refused as refused:
        return Refusal(row.number, title or None, str(refused))


def _entry(row: Row, title: str) -> ListEntry:
    fields = row.fields
    if row.overlong:
        raise Refused(f"Its `{row.overlong}` is longer than {MAX_TEXT:,} characters.")
    anime_id = _whole(fields, "series_animedb_id", INT_MAX)
    if not anime_id:
        raise Refused("It has no MyAnimeList id.")
    word = fields.get("my_status", "").strip()
    if not word:
        raise Refused("It has no status.")
    status = _STATUSES.get(_BLANKS.sub("", word.lower()))
    if status is None:
        raise Refused(f"Its status {shown(word)} is not one of MyAnimeList's.")
    tags = fields.get("my_tags")
    if tags and len(tags) > MAX_TAGS:
        raise Refused(f"Its `my_tags` is longer than {MAX_TAGS:,} characters.")
    return ListEntry(
        number=row.number,
        title=title,
        ids=(("myanimelist", str(anime_id)),),
        status=status,
        score=_whole(fields, "my_score", 10) or None,
        notes=fields.get("my_comments") or None,
        episodes_watched=_whole(fields, "my_watched_episodes", INT_MAX),
        started_on=_date(fields, "my_start_date"),
        completed_on=_date(fields, "my_finish_date"),
        times_rewatched=_whole(fields, "my_times_watched", INT_MAX),
        is_rewatching=fields.get("my_rewatching", "").strip().lower() in {"1", "yes", "true"},
        tags=tags or None,
        updated_at=_moment(fields),
    )


def _whole(fields: Mapping[str, str], name: str, most: int) -> int:
    text = fields.get(name, "").strip()
    if not text:
        return 0
    if not (_DIGITS.fullmatch(text) and int(text) <= most):
        raise Refused(f"Its `{name}` {shown(text)} is not a whole number from 0 to {most}.")
    return int(text)


def _date(fields: Mapping[str, str], name: str) -> str | None:
    found = _DATE.fullmatch(fields.get(name, "").strip())
    return reduced_date(int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None


def _moment(fields: Mapping[str, str]) -> datetime | None:
    text = fields.get("my_last_updated", "").strip()
    return moment(int(text)) if _DIGITS.fullmatch(text) else None
