"""GET /search/anime and /search/suggest."""

from typing import Annotated

from litestar import Controller, Response, get

from kitsu.controllers.catalogue.anime import ANIME_LIST, LIST_RESPONSE_HEADERS, RequestedAnime
from kitsu.domain.catalogue.anime import AnimeListItem
from kitsu.domain.catalogue.missed_searches import MissedSearches
from kitsu.domain.catalogue.search import MAX_LENGTH, AnimeSuggestion, SearchReader
from kitsu.errors import BadRequest
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import rate_limited
from kitsu.web.middleware.response_cache import CACHED, ETAGGED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors, query
from kitsu.web.pagination import page_response
from kitsu.web.request import GuestRequest
from kitsu.web.validation import read_filters

SearchText = Annotated[
    str | None,
    query(
        f"Required: 2 to {MAX_LENGTH} characters of any title, in any script. Typing errors are forgiven. Punctuation, "
        "case, accents and the order of words are ignored. Two quotation marks stand for all anime.",
        "death note",
        max_length=MAX_LENGTH,
    ),
]


class SearchController(Controller):
    path = "/search"
    tags = ["Catalogue"]
    opt = PUBLIC
    search: SearchReader
    missed: MissedSearches

    @get(
        "/anime",
        opt=ETAGGED,
        guards=[rate_limited("search")],
        before_request=read_filters,
        dependencies=ANIME_LIST,
        response_headers=LIST_RESPONSE_HEADERS,
        responses=NOT_MODIFIED | errors(BadRequest),
    )
    async def search_anime(
        self, request: GuestRequest, anime_query: RequestedAnime, q: SearchText = None
    ) -> Response[list[AnimeListItem]]:
        """Search anime. Best match first by default: the whole title, then its beginning, then all words, then titles
        that resemble `q`. All filters must match.
        """
        page = await self.search.page(q, anime_query)
        if not page.items and q is not None and anime_query.is_whole():
            await self.missed.note(q)
        return page_response(request, page)

    @get(
        "/suggest",
        opt=CACHED,
        guards=[rate_limited("suggest")],
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(BadRequest),
    )
    async def suggest_anime(self, q: SearchText = None) -> list[AnimeSuggestion]:
        """Suggest anime. Up to ten, for the list below a search box. One character of kana or kanji is enough."""
        return await self.search.suggestions(q)
