"""GET /anime and /anime/{anime_id}."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from kitsu.domain.catalogue.anime import Anime, AnimeListItem, AnimeReader
from kitsu.domain.catalogue.anime_query import AnimeQuery, AnimeType, Season, Sort
from kitsu.domain.pagination import PageRequest
from kitsu.errors import NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors
from kitsu.web.pagination import LIST_HEADERS, Cursor, Limit, Offset, Total, page_response, refuse_null


class AnimeListRequest(msgspec.Struct, frozen=True):
    """Which anime are asked for, and which page of them."""

    query: AnimeQuery
    page: PageRequest


def provide_anime_request(
    request: Request[Any, Any, Any],
    type: Annotated[AnimeType | None, QueryParameter(description="only of this type")] = None,  # noqa: A002 - the parameter's name in the contract
    status: Annotated[
        str | None, QueryParameter(max_length=64, description="only of this status, such as `FINISHED`")
    ] = None,
    year: Annotated[int | None, QueryParameter(ge=1, le=9999, description="only of this year")] = None,
    season: Annotated[Season | None, QueryParameter(description="only of this season")] = None,
    genres: Annotated[
        str | None, QueryParameter(max_length=1000, description="comma-separated; only with all of them")
    ] = None,
    sort: Annotated[Sort | None, QueryParameter(description="the order; `-` for descending")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
) -> AnimeListRequest:
    """Return the filters, the order and the page that a request asks for."""
    refuse_null(request, "type", "year", "season", "sort")
    wanted = tuple(genre.strip().lower() for genre in (genres or "").split(",") if genre.strip())
    query = AnimeQuery(type=type, status=status, year=year, season=season, genres=wanted, sort=sort)
    return AnimeListRequest(query, PageRequest(limit, offset, total, cursor))


ANIME_LIST = {"list_request": Provide(provide_anime_request, sync_to_thread=False)}
"""The dependency of a handler that lists anime: one, since two cost a task group."""


class AnimeController(Controller):
    """The catalogue's anime."""

    path = "/anime"
    tags = ["Catalogue"]
    opt = PUBLIC | CACHED
    anime: AnimeReader

    @get("/", dependencies=ANIME_LIST, response_headers=[*CATALOGUE_HEADERS, *LIST_HEADERS], responses=NOT_MODIFIED)
    async def list_anime(
        self, request: Request[Any, Any, Any], list_request: NamedDependency[AnimeListRequest]
    ) -> Response[list[AnimeListItem]]:
        """List anime.

        Newest first unless `sort` says otherwise. An anime must match all filters.
        """
        return page_response(request, await self.anime.page(list_request.query, list_request.page))

    @get("/{anime_id:str}", response_headers=CATALOGUE_HEADERS, responses=NOT_MODIFIED | errors(NotFound))
    async def get_anime(self, anime_id: FromPath[UUID]) -> Anime:
        """Get an anime.

        All that the catalogue knows about it.
        """
        return await self.anime.detail(anime_id)
