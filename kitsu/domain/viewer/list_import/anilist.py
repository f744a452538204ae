"""AniList's JSON: `{"lists": ...}` of its API, also inside GraphQL's `data`, or `{"animes": ...}` of its front end."""

import json
import math
from collections.abc import Iterator
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, ValidationError

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.viewer.library import MAX_NOTES, Status
from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.values import MAX_ENTRIES, MAX_TITLE, clean_text, format_date, parse_time, quote

MAX_VALUES = 1_000_000
"""In the whole file. The API's response for 15,000 anime has fewer, and each takes up to 200 bytes of memory."""

_STATUSES: dict[str, Status] = {
    "CURRENT": "watching",
    "REPEATING": "watching",
    "PLANNING": "plan_to_watch",
    "COMPLETED": "completed",
    "DROPPED": "dropped",
    "PAUSED": "on_hold",
}

_Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_Ranked = tuple[tuple[bool, int], ListEntry | NotImported]
"""An entry with its rank among those of the same anime, the highest being the best."""


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

    def first_title(self) -> str:
        titles = msgspec.structs.astuple(self.title or _Title())
        return next((text for title in titles if title and (text := clean_text(title[:MAX_TITLE]).strip())), "")

    def ids(self) -> tuple[tuple[str, str], ...]:
        found = ("anilist", self.id), ("myanimelist", self.id_mal)
        return tuple((provider, str(number)) for provider, number in found if number)


class _Date(msgspec.Struct):
    year: int | None = None
    month: int | None = None
    day: int | None = None


class _WithMedia(msgspec.Struct):
    """The part of an invalid entry that names it in a report."""

    media: _Media | None = None


class _Entry(_WithMedia, rename="camel"):
    status: str | None = None
    score: float | None = None
    progress: _Count | None = None
    repeat: _Count | None = None
    notes: str | None = None
    started_at: _Date | None = None
    completed_at: _Date | None = None
    updated_at: int | None = None


class _List(msgspec.Struct):
    status: str | None = None
    entries: list[Any] | None = None


class _Row(NamedTuple):
    number: int
    media: _Media
    entry: _Entry | str  # or the reason why it is invalid
    list_status: str | None


def read_anilist(data: bytes) -> list[ListEntry | NotImported]:
    """Return the entries of a list in UTF-8. Raises ListFileError.

    An anime in several lists is returned once, at its first place. The copy that can be imported, has a status of its
    own and has most fields wins.
    """
    rows = list(_rows(_lists(data)))
    scores = [row.entry.score for row in rows if isinstance(row.entry, _Entry) and row.entry.score is not None]
    # The scale is a setting of the user, which is not in the file; a score on no scale does not count.
    scale = 10 if any(10 < score <= 100 for score in scores) else 1
    best: dict[object, _Ranked] = {}
    for row in rows:
        key, ranked = next(iter(row.media.ids()), row.number), _ranked_entry(row, scale)
        best[key] = max(best.get(key, ranked), ranked, key=itemgetter(0))
    return [entry for _, entry in best.values()]


def _ranked_entry(row: _Row, scale: int) -> _Ranked:
    try:
        entry = _entry(row, scale)
    except EntryError as error:
        return (False, 0), NotImported(row.number, row.media.first_title() or None, str(error), None)
    return (bool(getattr(row.entry, "status", None)), sum(map(bool, msgspec.structs.astuple(entry)))), entry


def _lists(data: bytes) -> list[_List]:
    if sum(map(data.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    try:
        # msgspec's decoder would reject the file for a NaN or half an emoji in one entry.
        file = json.loads(data, parse_int=_parse_int)
    except RecursionError:
        raise ListFileError("The file is nested too deep for a list of AniList.") from None
    except ValueError as error:
        raise ListFileError(f"The file is cut short, or no JSON: {error}.") from None
    lists = file.get("lists", file.get("animes"))
    if lists is None:
        try:
            lists = file["data"]["MediaListCollection"]["lists"]
        except (KeyError, IndexError, TypeError):
            raise ListFileError("The file has no `lists`, so it is not a list of AniList.") from None
    try:
        return msgspec.convert(lists, list[_List])
    except ValidationError as error:
        raise ListFileError(f"The file's `lists` are not of the form that AniList's have: {error}.") from None


def _parse_int(digits: str) -> float:
    # int() raises for 5,000 digits, for the whole file; as a float only its entry is rejected.
    return int(digits) if len(digits) <= 18 else float(digits)


def _rows(lists: list[_List]) -> Iterator[_Row]:
    raw_entries = ((each.status, raw) for each in lists for raw in each.entries or ())
    for number, (list_status, raw) in enumerate(raw_entries, start=1):
        if number > MAX_ENTRIES:
            raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
        try:
            entry = msgspec.convert(raw, _Entry)
        except ValidationError as error:
            reason = f"It is not of the form that AniList's entries have: {error}."
            yield _Row(number, _media_of_invalid(raw), reason, list_status)
        else:
            yield _Row(number, entry.media or _Media(), entry, list_status)


def _media_of_invalid(raw: Any) -> _Media:
    try:
        return msgspec.convert(raw, _WithMedia).media or _Media()
    except ValidationError:
        return _Media()


def _entry(row: _Row, scale: int) -> ListEntry:
    entry = row.entry
    if isinstance(entry, str):
        raise EntryError(entry)
    status = entry.status or row.list_status or ""
    _check(entry, status)
    return ListEntry(
        number=row.number,
        title=row.media.first_title(),
        ids=row.media.ids(),
        status=_STATUSES[status.upper()],
        score=max(1, math.floor(entry.score / scale + 0.5)) if entry.score else None,
        notes=clean_text(entry.notes or "") or None,
        episodes_watched=entry.progress or 0,
        started_on=format_date(*msgspec.structs.astuple(entry.started_at or _Date())),
        completed_on=format_date(*msgspec.structs.astuple(entry.completed_at or _Date())),
        times_rewatched=entry.repeat or 0,
        is_rewatching=status.upper() == "REPEATING",
        updated_at=parse_time(entry.updated_at),
    )


def _check(entry: _Entry, status: str) -> None:
    """Raise EntryError for an entry that can't be imported."""
    if entry.media is None:
        raise EntryError("It has no `media`, so nothing says which anime it is.")
    # Manga have ids of their own on MyAnimeList, which are also ids of anime.
    if (entry.media.type or "").upper() == "MANGA":
        raise EntryError("It is a manga.")
    if not entry.media.ids():
        raise EntryError("It has neither an id of AniList nor one of MyAnimeList.")
    if not status:
        raise EntryError("It has no status, and neither has its list.")
    if status.upper() not in _STATUSES:
        raise EntryError(f"Its status {quote(clean_text(status))} is not one of AniList's.")
    # `not` comes first because NaN is not below 0 either.
    if entry.score is not None and not 0 <= entry.score <= 100:
        raise EntryError(f"Its score {entry.score:g} is not from 0 to 100.")
    if len(entry.notes or "") > MAX_NOTES:
        raise EntryError(f"Its notes are longer than {MAX_NOTES:,} characters.")
