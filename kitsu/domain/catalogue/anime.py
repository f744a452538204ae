"""Anime: the shapes that go over the wire, and the catalogue's reads of them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.batch_loader import BatchLoader, padded
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime_query import AnimeQuery, AnimeType, Season, listing_of
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Page, PageRequest
from kitsu.errors import NotFound


class AnimeListItem(msgspec.Struct):
    """An anime as it stands in a list."""

    id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])]
    title: Annotated[str, Meta(examples=["Death Note"])]
    year: Annotated[int | None, Meta(examples=[2006])]
    status: Annotated[
        str | None, Meta(description="`FINISHED`, `ONGOING`, `UPCOMING` or `UNKNOWN`", examples=["FINISHED"])
    ]
    type: Annotated[AnimeType, Meta(examples=["TV"])]
    season: Annotated[Season | None, Meta(examples=["FALL"])]
    episode_count: Annotated[int | None, Meta(description="null: unknown", examples=[37])]
    poster: Annotated[str | None, Meta(examples=["https://pictures.example.org/anime/1535.jpg"])]
    thumbnail: Annotated[str | None, Meta(examples=["https://pictures.example.org/anime/1535t.jpg"])]
    score: Annotated[float | None, Meta(description="1 to 10", examples=[8.71])]


class Anime(AnimeListItem):
    """An anime with all that the catalogue knows of it."""

    title_original: Annotated[str | None, Meta(examples=["デスノート"])]
    description: Annotated[
        str | None, Meta(examples=["A student finds a notebook that kills whose name is written in it."])
    ]
    synonyms: Annotated[list[str], Meta(examples=[["デスノート", "DN"]])]
    genres: Annotated[list[str], Meta(examples=[["mystery", "supernatural"]])]
    studios: Annotated[list[str], Meta(examples=[["madhouse"]])]
    duration_seconds: Annotated[int | None, Meta(description="of one episode", examples=[1380])]
    external_ids: Annotated[
        dict[str, str], Meta(description="provider to the id it has there", examples=[{"myanimelist": "1535"}])
    ]
    created_at: datetime
    updated_at: datetime


_anime = models.Anime
LIST_COLUMNS = columns_of(AnimeListItem, _anime)
_LIST_ITEM: Rows = select(*LIST_COLUMNS).where(_anime.id == bindparam("anime_id", type_=Uuid))
_list_item_of = mapper(AnimeListItem, _LIST_ITEM)


async def get_list_item(session: AsyncSession, anime_id: UUID) -> AnimeListItem:
    """Return an anime as it stands in a list. Raises NotFound."""
    row = (await session.execute(_LIST_ITEM, {"anime_id": anime_id})).first()
    if row is None:
        raise NotFound("Anime not found")
    return _list_item_of(row)


# Of several ids at one provider the lowest is shown, which is the oldest: the last of a key wins in jsonb.
EXTERNAL_IDS = (
    select(
        func.coalesce(
            func.jsonb_object_agg(
                models.ExternalId.provider,
                aggregate_order_by(
                    models.ExternalId.external_id,
                    func.length(models.ExternalId.external_id).desc(),
                    models.ExternalId.external_id.desc(),
                ),
            ),
            func.jsonb_build_object(),
        )
    )
    .where(models.ExternalId.anime_id == _anime.id)
    .scalar_subquery()
)
DETAILS: Rows = select(*columns_of(Anime, _anime, external_ids=EXTERNAL_IDS)).where(
    _anime.id == any_(bindparam("anime_ids", type_=ARRAY(Uuid)))
)
_detail_of = mapper(Anime, DETAILS)


class AnimeReader:
    """Reads of the catalogue's anime."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner
        self._details = BatchLoader(self._look_up)

    async def page(self, query: AnimeQuery, request: PageRequest) -> Page[AnimeListItem]:
        """Return the anime that pass all the filters, in the order asked for."""
        parameters = query.parameters()
        return await listing_of(AnimeListItem, frozenset(parameters), query.sort).page(
            self._runner, parameters, request
        )

    async def detail(self, anime_id: UUID) -> Anime:
        """Return one anime. Raises NotFound."""
        anime = await self._details.get(anime_id)
        if anime is None:
            raise NotFound("Anime not found")
        return anime

    async def _look_up(self, anime_ids: list[UUID]) -> dict[UUID, Anime]:
        rows = await self._runner.rows(DETAILS, {"anime_ids": padded(anime_ids)})
        return {row["id"]: _detail_of(row) for row in rows}
