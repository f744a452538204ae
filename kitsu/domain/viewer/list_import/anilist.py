"""AniList's JSON: `{"lists": ...}` as its API answers, with or without what GraphQL wraps around it, or the reduced
shape that the front end sends, `{"animes": ...}`.
"""

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from kitsu.domain.viewer.list_import.entries import (
    INT_MAX,
    MAX_ENTRIES,
    MAX_NOTES,
    MAX_TITLE,
    ListEntry,
    ListFileError,
    ListTooLarge,
    Refusal,
    Status,
    holdable,
    moment,
    reduced_date,
    shown,
)

MAX_VALUES = 1_000_000
"""In the whole file. The API's answer for 15,000 anime has fewer, and each takes up to 200 bytes of memory."""

_LONGEST_INTEGER = 18

_STATUSES: dict[str, Status] = {
    "CURRENT": "watching",
    "REPEATING": "watching",
    "PLANNING": "plan_to_watch",
    "COMPLETED": "completed",
    "DROPPED": "dropped",
    "PAUSED": "on_hold",
}

_Count = Annotated[int, Meta(ge=0, le=INT_MAX)]


class _Title(msgspec.Struct, rename="camel"):
    english: str | None = None
    romaji: str | None = None
    native: str | None = None
    user_preferred: str | None = None


class _Media(msgspec.Struct, rename="camel"):
    id: _Count | None = None
    id_mal: _Count | None = None
    type: str | None = None
    title: _Title | None = None

    def titled(self) -> str:
        title = self.title or _Title()
        names = (title.english, title.romaji, title.native, title.user_preferred)
        return next((text for name in names if name and (text := holdable(name[:MAX_TITLE]).strip())), "")

    def ids(self) -> tuple[tuple[str, str], ...]:
        found = ("anilist", self.id), ("myanimelist", self.id_mal)
        return tuple((provider, str(number)) for provider, number in found if number)


class _Date(msgspec.Struct):
    year: int | None = None
    month: int | None = None
    day: int | None = None

    def reduced(self) -> str | None:
        return reduced_date(self.year, self.month, self.day)


class _Entry(msgspec.Struct, rename="camel"):
    media: _Media | None = None
    status: str | None = None
    score: float | None = None
    progress: _Count | None = None
    repeat: _Count | None = None
    notes: str | None = None
    started_at: _Date | None = None
    completed_at: _Date | None = None
    updated_at: int | None = None


class _Named(msgspec.Struct):
    """As much of an entry that is wrong as it takes to tell a person which one it is."""

    media: _Media | None = None


class _List(msgspec.Struct):
    status: str | None = None
    entries: list[Any] | None = None


class _Row(NamedTuple):
    number: int
    media: _Media
    entry: _Entry | str
    """Or the reason why it is none."""
    list_status: str | None


def read_anilist(data: bytes) -> Iterator[ListEntry | Refusal]:
    """The entries of a list in UTF-8; a medium that stands in several lists comes once, at its first place.

    Raises ListFileError before the first.
    """
    rows = list(_rows(_lists(data)))
    scores = [row.entry.score for row in rows if isinstance(row.entry, _Entry) and row.entry.score is not None]
    # The scale is a setting of the user, which the file does not tell; a score that is on none says nothing about it.
    scale = 10 if any(10 < score <= 100 for score in scores) else 1
    best: dict[object, tuple[tuple[bool, bool, int], ListEntry | Refusal]] = {}
    for row in rows:
        result = _result(row, scale)
        key = next(iter(row.media.ids()), row.number)
        rank = _rank(row, result)
        if key not in best or rank > best[key][0]:
            best[key] = rank, result
    return (result for _, result in best.values())


def _lists(data: bytes) -> list[_List]:
    if sum(map(data.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    try:
        # Not msgspec's decoder: for it a NaN or half an emoji in one entry is a mistake of the file.
        file = json.loads(data, parse_int=_integer)
    except RecursionError:
        raise ListFileError("The file is nested too deep for a list of AniList.") from None
    except ValueError as error:
        raise ListFileError(f"The file is cut short, or no JSON: {error}.") from None
    lists = file.get("lists", file.get("animes"))
    if lists is None:
        try:
            lists = file["data"]["MediaListCollection"]["lists"]
        except (KeyError, IndexError, TypeError):
            raise ListFileError("The file has no `lists`, so it is no list of AniList.") from None
    try:
        return msgspec.convert(lists, list[_List])
    except msgspec.ValidationError as error:
        raise ListFileError(f"The file's `lists` are not of the form that AniList's have: {error}.") from None


def _integer(digits: str) -> float:
    # Python refuses to read a number of 5,000 digits; as a fraction it is the mistake of its entry.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _rows(lists: list[_List]) -> Iterator[_Row]:
    number = 0
    for each in lists:
        for raw in each.entries or ():
            number += 1
            if number > MAX_ENTRIES:
                raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
            try:
                entry = msgspec.convert(raw, _Entry)
            except msgspec.ValidationError as error:
                reason = f"It is not of the form that AniList's entries have: {error}."
                yield _Row(number, _media_of_wrong(raw), reason, each.status)
            else:
                yield _Row(number, entry.media or _Media(), entry, each.status)


def _media_of_wrong(raw: Any) -> _Media:
    try:
        return msgspec.convert(raw, _Named).media or _Media()
    except msgspec.ValidationError:
        return _Media()


def _rank(row: _Row, result: ListEntry | Refusal) -> tuple[bool, bool, int]:
    """Of the copies of a medium the highest is taken: one that can be, with a status of its own, that says most."""
    if isinstance(result, Refusal) or not isinstance(row.entry, _Entry):
        return False, False, 0
    said = sum(bool(getattr(result, field)) for field in result.__struct_fields__)
    return True, bool(row.entry.status), said


def _result(row: _Row, scale: int) -> ListEntry | Refusal:
    title = row.media.titled()
    reason = row.entry if isinstance(row.entry, str) else _objection(row.entry, row.list_status)
    if reason or isinstance(row.entry, str):
        return Refusal(row.number, title or None, reason)
    entry = row.entry
    status = (entry.status or row.list_status or "").upper()
    return ListEntry(
        number=row.number,
        title=title,
        ids=row.media.ids(),
        status=_STATUSES[status],
        score=max(1, math.floor(entry.score / scale + 0.5)) if entry.score else None,
        notes=holdable(entry.notes or "") or None,
        episodes_watched=entry.progress or 0,
        started_on=entry.started_at.reduced() if entry.started_at else None,
        completed_on=entry.completed_at.reduced() if entry.completed_at else None,
        times_rewatched=entry.repeat or 0,
        is_rewatching=status == "REPEATING",
        updated_at=moment(entry.updated_at),
    )


def _objection(entry: _Entry, list_status: str | None) -> str:
    status = entry.status or list_status
    if entry.media is None:
        return "It has no `media`, so nothing says which anime it is."
    # Manga have numbers of their own on MyAnimeList, which would be taken for those of anime.
    if (entry.media.type or "").upper() == "MANGA":
        return "It is a manga."
    if not entry.media.ids():
        return "It has neither an id of AniList nor one of MyAnimeList."
    if not status:
        return "It has no status, and neither has its list."
    if status.upper() not in _STATUSES:
        return f"Its status {shown(holdable(status))} is none that AniList has."
    # Turned around, for NaN is not below 0 either.
    if entry.score is not None and not 0 <= entry.score <= 100:
        return f"Its score {entry.score:g} is not from 0 to 100."
    if len(entry.notes or "") > MAX_NOTES:
        return f"Its notes are longer than {MAX_NOTES:,} characters."
    return ""
