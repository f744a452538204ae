"""GET /genres, /studios and /seasons."""

from litestar import Controller, get

from kitsu.domain.catalogue.facets import FacetReader, NameCount, SeasonCount
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED


class FacetController(Controller):
    tags = ["Catalogue"]
    opt = PUBLIC | CACHED
    response_headers = CATALOGUE_HEADERS
    facets: FacetReader

    @get("/genres", responses=NOT_MODIFIED)
    async def list_genres(self) -> list[NameCount]:
        """List genres. With the number of their anime, the most frequent first."""
        return await self.facets.genres()

    @get("/studios", responses=NOT_MODIFIED)
    async def list_studios(self) -> list[NameCount]:
        """List studios. With the number of their anime, the most frequent first."""
        return await self.facets.studios()

    @get("/seasons", responses=NOT_MODIFIED)
    async def list_seasons(self) -> list[SeasonCount]:
        """List seasons. With the number of their anime, the newest first."""
        return await self.facets.seasons()
