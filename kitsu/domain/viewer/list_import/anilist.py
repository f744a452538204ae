"""AniList's JSON: the responses of its API in any shape, the lists of its front end, and the files of Automail."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from kitsu.domain.viewer.list_import.entries import EntryError, LibraryFields, ListEntry, ListFileError, NotImported
from kitsu.domain.viewer.list_import.json_values import Value, decoded, items, mapping, members
from kitsu.domain.viewer.list_import.rows import Row, Scale, of_hundred, of_ten
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, numbered, read_id, read_number

_MAX_DEPTH = 4  # `[{"data": {"alias": {"lists": …}}}]`, where several responses are in one file
_MAX_RESPONSES = 2_000  # of 50 entries; a longer array has other items than responses
_MAX_ALIASES = 100
_MANGA_OFFSET = 30_000
"""AniList gave the first manga their ids of MyAnimeList plus this. No anime has such a pair of ids."""
_LISTS = ("lists", "animes")
_PAGE = "mediaList"


def _of_five(stars: float) -> float | None:
    """Convert stars as AniList does: to 10, 30, 50, 70 and 90 of 100."""
    return stars * 2 - 1 if 1 <= stars <= 5 else None


def _of_smileys(number: float) -> float | None:
    """Convert smileys as AniList does: to 35, 60 and 85 of 100."""
    return {1.0: 3.5, 2.0: 6.0, 3.0: 8.5}.get(number)


_SCALES: dict[str, tuple[float, Scale]] = {
    "POINT_100": (100, of_hundred),
    "POINT_10_DECIMAL": (10, of_ten),
    "POINT_10": (10, of_ten),
    "POINT_5": (5, _of_five),
    "POINT_3": (3, _of_smileys),
}
"""By `scoreFormat`: the highest score, and how a score is converted."""

_Ranked = tuple[tuple[bool, bool, int], ListEntry | NotImported]
"""An entry with its rank among those of the same anime, the highest being the best."""


class _Context(NamedTuple):
    """What the objects around a list say about it."""

    score_format: str | None = None
    is_manga: bool = False


class _Source(NamedTuple):
    """An entry before it is decoded, and what its list says about it."""

    entry: Value
    list_status: Any
    is_manga: bool
    scale: Scale


def matches(document: Value) -> bool:
    """Return whether the file has lists or a page of AniList."""
    return next(_collections(document, _Context()), None) is not None


def read(document: Value) -> list[ListEntry | NotImported]:
    """Return the entries. Raises ListFileError.

    An anime in several lists is returned once, at its first place. The copy that can be imported, has a status of its
    own and has most fields wins.
    """
    best: dict[object, _Ranked] = {}
    for number, source in numbered(_sources(document)):
        key, ranked = _ranked_entry(number, source)
        best[key] = max(best.get(key, ranked), ranked, key=itemgetter(0))
    return [entry for _, entry in best.values()]


def _collections(value: Value, context: _Context, depth: int = 0) -> Iterator[tuple[dict[str, Value], _Context]]:
    """Yield each object that has lists or a page of entries, whatever the query called it."""
    if depth > _MAX_DEPTH:
        return
    responses = items(value) if depth == 0 else []
    for item in responses if len(responses) <= _MAX_RESPONSES else []:
        yield from _collections(item, context, depth + 1)
    fields = members(value)
    own = (_score_format(fields.get(name)) for name in ("user", "User", "Viewer"))
    context = _Context(
        next(filter(None, own), context.score_format), context.is_manga or decoded(fields.get("type")) == "MANGA"
    )
    if any(name in fields for name in (*_LISTS, _PAGE)):
        yield fields, context
        return
    for name, child in fields.items() if len(fields) <= _MAX_ALIASES else ():
        is_of_manga = context.is_manga or "manga" in name.lower()
        yield from _collections(child, _Context(context.score_format, is_of_manga), depth + 1)


def _score_format(user: Value) -> str | None:
    name = decoded(members(members(user).get("mediaListOptions")).get("scoreFormat"))
    return name if isinstance(name, str) else None


def _sources(document: Value) -> Iterator[_Source]:
    for fields, context in _collections(document, _Context()):
        lists = [(None, _array(fields, _PAGE))]
        for each in (each for name in _LISTS for each in _array(fields, name)):
            if not members(each):
                raise ListFileError("The file's lists are not of the form that AniList's have.")
            lists.append((decoded(members(each).get("status")), _array(members(each), "entries")))
        scale = _scale(context, [entry for _, entries in lists for entry in entries])
        for status, entries in lists:
            yield from (_Source(entry, status, context.is_manga, scale) for entry in entries)


def _array(fields: dict[str, Value], name: str) -> list[Value]:
    """Return the items of an array; none if it is missing or null. Raises ListFileError."""
    found = items(fields.get(name))
    if not found and decoded(fields.get(name)) not in (None, []):
        raise ListFileError(f"The file's `{name}` are not of the form that AniList's have.")
    return found


def _scale(context: _Context, entries: Sequence[Value]) -> Scale:
    """Return the scale of the user's scores. The file may not name it, and a query can ask for another one."""
    own = (_score_format(members(entry).get("user")) for entry in entries[:1])
    highest, scale = _SCALES.get(context.score_format or next(own, None) or "", (10, of_ten))
    scores = (read_number(decoded(members(entry).get("score"))) for entry in entries)
    return of_hundred if any(score and highest < score <= 100 for score in scores) else scale


def _ranked_entry(number: int, source: _Source) -> tuple[object, _Ranked]:
    """Return what names the anime, and the entry with its rank."""
    values = mapping(decoded(source.entry))
    media = mapping(values.get("media"))
    titles = mapping(media.get("title"))
    title = first_title(*(titles.get(name) for name in ("english", "romaji", "native", "userPreferred")))
    anilist_id = read_id(media.get("id")) or read_id(values.get("mediaId"))
    ids = [("anilist", anilist_id), ("myanimelist", read_id(media.get("idMal")))]
    key = next(((provider, value) for provider, value in ids if value), number)
    try:
        row = _row(values, media, source)
        entry = row.entry(number, title, ids, year=media.get("seasonYear"), updated_at=values.get("updatedAt"))
    except EntryError as error:
        return key, ((False, False, 0), NotImported(number, title or None, str(error), None))
    fullness = sum(bool(getattr(entry, name)) for name in LibraryFields.__struct_fields__)
    return key, ((True, bool(values.get("status")), fullness), entry)


def _is_manga(values: dict[str, Any], media: dict[str, Any]) -> bool:
    if kind := media.get("type"):
        return is_manga(kind)
    if any(media.get(name) is not None for name in ("chapters", "volumes")) or read_number(
        values.get("progressVolumes")
    ):
        return True
    anilist_id, myanimelist_id = read_number(media.get("id")), read_number(media.get("idMal"))
    has_id_of_manga = bool(anilist_id and myanimelist_id) and anilist_id == (myanimelist_id or 0) + _MANGA_OFFSET
    return has_id_of_manga or is_manga(media.get("format"))


def _row(values: dict[str, Any], media: dict[str, Any], source: _Source) -> Row:
    # Manga have ids of their own on MyAnimeList, which are also ids of anime.
    if source.is_manga or _is_manga(values, media):
        raise EntryError(MANGA)
    row = Row(values)
    row.status(values.get("status") or source.list_status)
    if read_number(values.get("scoreRaw")):  # Automail's name for the score of 100 points
        row.score("scoreRaw", of_hundred)
    else:
        row.score("score", source.scale)
    row.text("notes", "notes")
    row.count("episodes_watched", "progress")
    row.date("started_on", "startedAt")
    row.date("completed_on", "completedAt")
    row.count("times_rewatched", "repeat")
    return row
