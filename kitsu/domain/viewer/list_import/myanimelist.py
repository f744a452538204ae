"""MyAnimeList's export: what its rows mean, as that site and others write them, and the same written for it to take
back. The XML itself is read in `myanimelist_xml`.
"""

import re
from collections.abc import Iterator, Mapping
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
    Status,
    holdable,
    moment,
    reduced_date,
    shown,
)
from kitsu.domain.viewer.list_import.myanimelist_xml import MAX_TEXT, Row, read_rows

_STATUSES: dict[str, Status] = {
    "watching": "watching",
    "completed": "completed",
    "onhold": "on_hold",
    "dropped": "dropped",
    "plantowatch": "plan_to_watch",
    "1": "watching",
    "2": "completed",
    "3": "on_hold",
    "4": "dropped",
    "6": "plan_to_watch",
}
_TYPE_WORDS: dict[AnimeType, str] = {
    "TV": "TV",
    "MOVIE": "Movie",
    "OVA": "OVA",
    "ONA": "ONA",
    "SPECIAL": "Special",
    "UNKNOWN": "Unknown",
}
_STATUS_WORDS: dict[Status, str] = {
    "watching": "Watching",
    "completed": "Completed",
    "on_hold": "On-Hold",
    "dropped": "Dropped",
    "plan_to_watch": "Plan to Watch",
}
_TOTALS: dict[str, Status] = {
    "user_total_watching": "watching",
    "user_total_completed": "completed",
    "user_total_onhold": "on_hold",
    "user_total_dropped": "dropped",
    "user_total_plantowatch": "plan_to_watch",
}

_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?")
_DIGITS = re.compile(r"[0-9]{1,20}")


class _Refused(Exception):
    pass


def read_myanimelist(data: bytes) -> Iterator[ListEntry | Refusal]:
    """The entries of an export in UTF-8, whatever encoding it claims.

    Raises ListFileError, also after entries were given.
    """
    return map(_read, read_rows(data))


def export_head(user_name: str, totals: Mapping[Status, int]) -> bytes:
    """Return the begin of the file that MyAnimeList takes back; `totals` is how many entries have each status.

    What XML can't hold is left out of the texts.
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
    """The `<anime>` of an entry."""
    values = {
        "series_animedb_id": escape(entry.myanimelist_id),
        "series_title": _cdata(entry.title),
        "series_type": _TYPE_WORDS[entry.type],
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
    # A carriage return as it is would be read as a line feed.
    text = holdable(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return f"<![CDATA[{text}]]>"


def _full_date(reduced: str | None) -> str:
    return (reduced or "0000") + "-00-00"[len(reduced or "0000") - 4 :]


def _read(row: Row) -> ListEntry | Refusal:
    title = row.fields.get("series_title", "")[:MAX_TITLE]
    try:
        return _entry(row, title)
    except _Refused as refused:
        return Refusal(row.number, title or None, str(refused))


def _entry(row: Row, title: str) -> ListEntry:
    fields = row.fields
    if row.overlong:
        raise _Refused(f"Its `{row.overlong}` is longer than {MAX_TEXT:,} characters.")
    anime_id = _whole(fields, "series_animedb_id", INT_MAX)
    if not anime_id:
        raise _Refused("It has no MyAnimeList id.")
    word = fields.get("my_status", "").strip()
    if not word:
        raise _Refused("It has no status.")
    status = _STATUSES.get(re.sub(r"[\s_-]+", "", word.lower()))
    if status is None:
        raise _Refused(f"Its status {shown(word)} is none that MyAnimeList has.")
    tags = fields.get("my_tags")
    if tags and len(tags) > MAX_TAGS:
        raise _Refused(f"Its `my_tags` is longer than {MAX_TAGS:,} characters.")
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
        raise _Refused(f"Its `{name}` {shown(text)} is not a whole number from 0 to {most}.")
    return int(text)


def _date(fields: Mapping[str, str], name: str) -> str | None:
    found = _DATE.fullmatch(fields.get(name, "").strip())
    return reduced_date(int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None


def _moment(fields: Mapping[str, str]) -> datetime | None:
    text = fields.get("my_last_updated", "").strip()
    return moment(int(text)) if _DIGITS.fullmatch(text) else None
