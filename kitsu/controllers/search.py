"""GET /search/anime."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from kitsu.controllers.anime import provide_anime_query
from kitsu.controllers.lists import LIST_HEADERS, answer, provide_page_request
from kitsu.domain.anime import AnimeListItem
from kitsu.domain.anime_query import AnimeQuery
from kitsu.domain.paging import PageRequest
from kitsu.domain.search import SearchReader
from kitsu.domain.sessions import Device
from kitsu.errors import BadRequest, InvalidRequest, RateLimited
from kitsu.middleware.catalogue_answers import TAGGED
from kitsu.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors


class SearchController(Controller):
    """Search in the catalogue."""

    path = "/search"
    tags = ["Catalogue"]  # noqa: RUF012 - Litestar's way to declare
    opt = TAGGED

    @get(
        "/anime",
        operation_id="searchAnime",
        summary="Search anime",
        response_description="The anime that were found.",
        dependencies={
            "filters": Provide(provide_anime_query, sync_to_thread=False),
            "asked": Provide(provide_page_request, sync_to_thread=False),
        },
        response_headers=[*CATALOGUE_HEADERS, *LIST_HEADERS],
        responses=NOT_MODIFIED | errors(BadRequest, InvalidRequest, RateLimited),
    )
    async def search_anime(
        self,
        request: Request[Any, Any, Any],
        search: NamedDependency[SearchReader],
        client_device: NamedDependency[Device],
        filters: NamedDependency[AnimeQuery],
        asked: NamedDependency[PageRequest],
        q: Annotated[
            str | None, QueryParameter(description="2 to 255 characters of any title; case and accents don't matter")
        ] = None,
    ) -> Response[list[AnimeListItem]]:
        """Anime of which any title holds `q`, the best match first unless `sort` says otherwise."""
        return answer(request, await search.anime(q, filters, asked, client_device))
