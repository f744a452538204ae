"""Anime: the Structs on the wire, and the statements of lists, search and details."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Text, Uuid, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.batch_loader import BatchLoader, padded
from kitsu.db.statements import StatementReader
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Key, Listing, Page, PageRequest, ascending, descending
from kitsu.errors import NotFound

AnimeType = Annotated[
    Literal["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"],
    Meta(title="AnimeType", description="The kind of anime."),
]
Season = Annotated[
    Literal["WINTER", "SPRING", "SUMMER", "FALL"], Meta(title="Season", description="The season it was first shown in.")
]
Provider = Literal[
    "anidb",
    "anilist",
    "anime_planet",
    "animecountdown",
    "animenewsnetwork",
    "anisearch",
    "kitsu",
    "livechart",
    "myanimelist",
    "notify_moe",
    "simkl",
]
"""The sites whose ids imports know."""
Sort = Literal["created_at", "-created_at", "title", "-title", "year", "-year", "score", "-score"]


Status = Annotated[str, described("`FINISHED`, `ONGOING`, `UPCOMING` or `UNKNOWN`.", "FINISHED")]
Year = Annotated[int, described("The year it was first shown.", 2006)]
ExternalIds = Annotated[dict[str, str], described("The id of the anime at each provider.", {"myanimelist": "1535"})]


class AnimeListItem(msgspec.Struct):
    """An anime in a list."""

    id: UUID
    title: Annotated[str, described("The main title.", "Death Note")]
    year: Year | None
    status: Status | None
    type: AnimeType
    season: Season | None
    episode_count: Annotated[int | None, described("The number of episodes, or null if it is unknown.", 37)]
    poster: Annotated[str | None, described("URL of the poster.", "https://pictures.example.org/anime/1535.jpg")]
    thumbnail: Annotated[str | None, described("A smaller poster.", "https://pictures.example.org/anime/1535t.jpg")]
    score: Annotated[float | None, described("The average score of other catalogues, 1 to 10.", 8.71)]


class Anime(AnimeListItem):
    """An anime with all its fields."""

    title_original: Annotated[str | None, described("The title in the original language.", "デスノート")]
    description: Annotated[str | None, described("The plot in a few sentences.", "A student finds a deadly notebook.")]
    synonyms: Annotated[list[str], described("Other titles.", ["デスノート", "DN"])]
    genres: Annotated[list[str], described("Genres and themes, in lower case.", ["mystery", "supernatural"])]
    studios: Annotated[list[str], described("The studios, in lower case.", ["madhouse"])]
    duration_seconds: Annotated[int | None, described("The length of one episode.", 1380)]
    external_ids: ExternalIds
    created_at: Annotated[datetime, described("When the anime was added.")]
    updated_at: Annotated[datetime, described("When the anime was last changed.")]


class AnimeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list of anime: filters, all of which must match, and the order."""

    page: PageRequest
    type: AnimeType | None = None
    status: str | None = None
    """In any case."""
    year: int | None = None
    season: Season | None = None
    genres: list[str] | None = None
    """In lower case. The anime has all of them."""
    sort: Sort | None = None
    """None: the best match first in a search, else newest first."""
    source: Provider | None = None
    external_id: str | None = None
    """At this source."""
    ids: list[UUID] | None = None
    """Ids of merged anime stand for what they have become."""

    def filters(self) -> dict[str, Any]:
        """Return the values of the filters, None for those that are not set."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if name not in {"page", "sort"}}

    def is_whole(self) -> bool:
        """Return whether it is the first page without filters: if that is empty, nothing matches."""
        return not (self.page.offset or self.page.cursor or any(self.filters().values()))


_anime, _external, _merge = models.Anime, models.ExternalId, models.AnimeMerge


def current_id(anime_id: Any) -> ColumnElement[UUID]:
    """Return the id of what an anime has become by merges, as an expression; its own id if it was not merged."""
    became = select(_merge.current_id).where(_merge.from_id == anime_id, _merge.undone_at.is_(None)).scalar_subquery()
    return func.coalesce(became, anime_id, type_=Uuid)


_ID: Any = bindparam("anime_id", type_=Uuid)
_CURRENT: Rows = select(current_id(_ID))
LIST_COLUMNS = columns_of(AnimeListItem, _anime)
_LIST_ITEM: Rows = select(*LIST_COLUMNS).where(_anime.id == current_id(_ID))
_list_item_of = mapper(AnimeListItem, _LIST_ITEM)

# Of several ids of one provider the lowest is shown, which is the oldest: jsonb keeps the last value of a key.
_by_age = (func.length(_external.external_id).desc(), _external.external_id.desc())
_ids = func.jsonb_object_agg(_external.provider, aggregate_order_by(_external.external_id, *_by_age))
EXTERNAL_IDS = (
    select(func.coalesce(_ids, func.jsonb_build_object())).where(_external.anime_id == _anime.id).scalar_subquery()
)
DETAILS: Rows = select(*columns_of(Anime, _anime, external_ids=EXTERNAL_IDS)).where(
    _anime.id == any_(bindparam("anime_ids", type_=ARRAY(Uuid)))
)
detail_of = mapper(Anime, DETAILS)


_wanted = func.unnest(bindparam("ids", type_=ARRAY(Uuid))).table_valued("id").render_derived()
_FILTERS: dict[str, ColumnElement[bool]] = {
    "type": _anime.type == bindparam("type"),
    "status": func.lower(_anime.status) == func.lower(bindparam("status", type_=Text)),
    "year": _anime.year == bindparam("year"),
    "season": _anime.season == bindparam("season"),
    "genres": _anime.genre_keys.contains(bindparam("genres", type_=ARRAY(Text))),
    "ids": _anime.id.in_(select(current_id(_wanted.c.id))),
    "external_id": _anime.id
    == select(_external.anime_id)
    .where(_external.provider == bindparam("source"), _external.external_id == bindparam("external_id"))
    .scalar_subquery(),
}
_SORT_COLUMNS = {"created_at": _anime.created_at, "title": _anime.title_key, "year": _anime.year, "score": _anime.score}
_NEWEST = (descending(_anime.created_at), descending(_anime.id))


def order_of(sort: Sort) -> tuple[Key, ...]:
    """Return the keys of an order."""
    name = sort.removeprefix("-")
    key = ascending if name == sort else descending
    return key(_SORT_COLUMNS[name], unknown_last=name in {"year", "score"}), key(_anime.id)


@lru_cache(maxsize=1024)
def listing_of(filters: frozenset[str], sort: Sort | None) -> Listing[AnimeListItem]:
    """Return the list of anime with these filters, whose values are the statement's parameters."""
    where = [_FILTERS[name] for name in sorted(filters)]
    order = order_of(sort) if sort else _NEWEST
    counted = select(_anime.id).where(*where)
    return Listing(AnimeListItem, select(*LIST_COLUMNS).where(*where), *order, counted=counted)


async def get_list_item(session: AsyncSession, anime_id: UUID) -> AnimeListItem:
    """Return an anime as it is in a list. Raises NotFound."""
    row = (await session.execute(_LIST_ITEM, {"anime_id": anime_id})).first()
    if row is None:
        raise NotFound("Anime not found")
    return _list_item_of(row)


class AnimeReader:
    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner
        self._details = BatchLoader(self._look_up)

    async def page(self, query: AnimeQuery) -> Page[AnimeListItem]:
        """Return the anime that match all filters."""
        parameters = {name: value for name, value in query.filters().items() if value is not None}
        filters = frozenset(parameters.keys() & _FILTERS.keys())
        return await listing_of(filters, query.sort).page(self._runner, parameters, query.page)

    async def detail(self, anime_id: UUID) -> Anime:
        """Return one anime, for a merged one what it has become. Raises NotFound."""
        anime = await self._details.get(anime_id)
        if anime is None:
            anime = await self._details.get(await self._runner.value(_CURRENT, {"anime_id": anime_id}))
        if anime is None:
            raise NotFound("Anime not found")
        return anime

    async def _look_up(self, anime_ids: list[UUID]) -> dict[UUID, Anime]:
        rows = await self._runner.rows(DETAILS, {"anime_ids": padded(anime_ids)})
        return {row["id"]: detail_of(row) for row in rows}
