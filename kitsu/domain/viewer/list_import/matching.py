"""The anime of each entry: by its id at Kitsu, by ids of other sites, or by a title that only one anime has.

AniList took over MyAnimeList's ids of older anime. So where the catalogue does not know an anime's AniList id, a low
AniList id in a file is looked up as one of MyAnimeList.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, and_, any_, bindparam, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from kitsu.db import models
from kitsu.domain.catalogue.anime import current_id
from kitsu.domain.viewer.list_import.entries import ListEntry, NotImported, Suggestion

T = TypeVar("T")

MAX_SUGGESTIONS = 200
BATCH_IDS = 5_000
BATCH_TITLES = 200
"""The title search takes up to 3 ms for each."""


MAX_SHARED_ID = 19_999
"""Up to here AniList's ids are those of MyAnimeList."""
BY_TITLE = "Its anime was found by the title."
BY_SHARED_ID = f"Its AniList id was taken for MyAnimeList's: up to {MAX_SHARED_ID:,} they are the same."


class Match(NamedTuple):
    """The anime of an entry, and a remark unless it was found by an id that the catalogue has."""

    anime_id: UUID
    episode_count: int | None
    remark: str | None


_anime, _known = models.Anime, models.ExternalId


def _unnested(**columns: Any) -> Any:
    arrays = (bindparam(name, type_=ARRAY(kind)) for name, kind in columns.items())
    return func.unnest(*arrays).table_valued(*columns).render_derived()


_own = _unnested(anime_id=Uuid)
_OWN_IDS = select(_own.c.anime_id, _anime.id).join(_anime, _anime.id == current_id(_own.c.anime_id))
_wanted = _unnested(provider=Text, external_id=Text)
_IDS = select(_known.provider, _known.external_id, _known.anime_id).join(
    _wanted, and_(_known.provider == _wanted.c.provider, _known.external_id == _wanted.c.external_id)
)
_other = aliased(_known)
_WITHOUT_ANILIST = select(_known.external_id, _known.anime_id).where(
    _known.provider == "myanimelist",
    _known.external_id == any_(bindparam("ids", type_=ARRAY(Text))),
    ~exists().where(_other.anime_id == _known.anime_id, _other.provider == "anilist"),
)
# No anime of an entry is deleted or merged until the import ends.
_COUNTS = (
    select(_anime.id, _anime.episode_count)
    .where(_anime.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(_anime.id)
    .with_for_update(key_share=True, read=True)
)
_BY_TITLE = text("""
SELECT wanted.n, found.id, found.title, found.year
FROM unnest(CAST(:titles AS text[])) WITH ORDINALITY AS wanted (title, n),
LATERAL (SELECT left(replace(kitsu_search_key(wanted.title), ' ', ''), 250) AS packed) AS key,
LATERAL (
    SELECT anime.id, anime.title, anime.year, min(position) AS position, anime.created_at
    FROM anime_titles JOIN anime ON anime.id = anime_titles.anime_id
    WHERE length(key.packed) >= 3 AND anime_titles.packed = key.packed
    GROUP BY anime.id
) AS found
ORDER BY wanted.n, found.position, found.created_at DESC, found.id
""")


async def find_anime(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[int, Match]:
    """Return the anime of the entries by their numbers. It is locked against deletion until the transaction ends."""
    own = await _by_own_id(connection, entries)
    known = await _by_ids(connection, entries)
    found: dict[int, UUID] = {}
    for entry in entries:
        anime_id = own.get(entry.anime_id) or next((known[each] for each in entry.ids if each in known), None)
        if anime_id is not None:
            found[entry.number] = anime_id
    others = [entry for entry in entries if entry.number not in found]
    titled = await _by_title(connection, [entry for entry in others if not entry.ids])
    shared = await _by_shared_id(connection, others)
    remarks = dict.fromkeys(titled, BY_TITLE) | dict.fromkeys(shared, BY_SHARED_ID)
    found |= titled | shared
    counts: dict[UUID, int | None] = {}
    for ids in _batches(sorted({*found.values()}), BATCH_IDS):
        counts |= {row.id: row.episode_count for row in await connection.execute(_COUNTS, {"ids": ids})}
    return {
        number: Match(anime_id, counts[anime_id], remarks.get(number))
        for number, anime_id in found.items()
        if anime_id in counts
    }


async def suggest(connection: AsyncConnection, unknown: Sequence[NotImported]) -> None:
    """Add an anime of the same title to entries without one."""
    with_title = [item for item in unknown if item.title][:MAX_SUGGESTIONS]
    rows = await connection.execute(_BY_TITLE, {"titles": [item.title for item in with_title]})
    for row in reversed(rows.all()):  # the best comes first, so it wins
        with_title[row.n - 1].suggestion = Suggestion(row.id, row.title)


async def _by_own_id(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[UUID | None, UUID]:
    found: dict[UUID | None, UUID] = {}
    for ids in _batches(sorted({entry.anime_id for entry in entries if entry.anime_id}), BATCH_IDS):
        found |= {row.anime_id: row.id for row in await connection.execute(_OWN_IDS, {"anime_id": ids})}
    return found


async def _by_ids(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[tuple[str, str], UUID]:
    found: dict[tuple[str, str], UUID] = {}
    for pairs in _batches(sorted({pair for entry in entries for pair in entry.ids}), BATCH_IDS):
        parameters = {"provider": [each[0] for each in pairs], "external_id": [each[1] for each in pairs]}
        rows = await connection.execute(_IDS, parameters)
        found |= {(row.provider, row.external_id): row.anime_id for row in rows}
    return found


async def _by_shared_id(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[int, UUID]:
    """Return the anime of entries with an AniList id that MyAnimeList has too. A title in the file has to agree."""
    wanted = {entry.number: shared for entry in entries if (shared := _shared_id(entry))}
    found: dict[str, UUID] = {}
    for ids in _batches(sorted({*wanted.values()}), BATCH_IDS):
        found |= {row.external_id: row.anime_id for row in await connection.execute(_WITHOUT_ANILIST, {"ids": ids})}
    candidates = [entry for entry in entries if wanted.get(entry.number) in found]
    titles = await _with_title(connection, candidates)
    anime = {entry.number: found[wanted[entry.number]] for entry in candidates}
    return {
        entry.number: anime[entry.number]
        for entry in candidates
        if not entry.title or anime[entry.number] in titles.get(entry.number, ())
    }


def _shared_id(entry: ListEntry) -> str | None:
    ids = dict(entry.ids)
    number = ids.get("anilist", "")
    is_shared = "myanimelist" not in ids and number.isdigit() and int(number) <= MAX_SHARED_ID
    return number if is_shared else None


async def _by_title(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[int, UUID]:
    """Return the anime of entries that only have a title, where a single anime has the title and the year."""
    titles = await _with_title(connection, entries)
    return {number: ids[0] for number, ids in titles.items() if len(ids) == 1}


async def _with_title(connection: AsyncConnection, entries: Sequence[ListEntry]) -> dict[int, list[UUID]]:
    """Return all anime that have the title of an entry, and its year where both are known."""
    found: dict[int, list[UUID]] = {}
    for batch in _batches([entry for entry in entries if entry.title], BATCH_TITLES):
        for row in await connection.execute(_BY_TITLE, {"titles": [entry.title for entry in batch]}):
            entry = batch[row.n - 1]
            if entry.year is None or row.year in {None, entry.year}:
                found.setdefault(entry.number, []).append(row.id)
    return found


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
