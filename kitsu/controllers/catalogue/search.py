"""GET /search/anime."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from kitsu.controllers.catalogue.anime import ANIME_LIST, AnimeListRequest
from kitsu.domain.catalogue.anime import AnimeListItem
from kitsu.domain.catalogue.search import SearchReader
from kitsu.errors import BadRequest
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import rate_limited
from kitsu.web.middleware.response_cache import ETAGGED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors
from kitsu.web.pagination import LIST_HEADERS, page_response


class SearchController(Controller):
    """Search in the catalogue."""

    path = "/search"
    tags = ["Catalogue"]
    opt = PUBLIC | ETAGGED
    search: SearchReader

    @get(
        "/anime",
        guards=[rate_limited("search")],
        dependencies=ANIME_LIST,
        response_headers=[*CATALOGUE_HEADERS, *LIST_HEADERS],
        responses=NOT_MODIFIED | errors(BadRequest),
    )
    async def search_anime(
        self,
        request: Request[Any, Any, Any],
        list_request: NamedDependency[AnimeListRequest],
        q: Annotated[
            str | None, QueryParameter(description="2 to 255 characters of any title; case and accents don't matter")
        ] = None,
    ) -> Response[list[AnimeListItem]]:
        """Search anime.

        The anime with a title that contains `q`, best match first unless `sort` says otherwise.
        """
        return page_response(request, await self.search.anime(q, list_request.query, list_request.page))
