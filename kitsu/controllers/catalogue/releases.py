"""GET /releases, /releases/{release_id} and /episodes."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from kitsu.domain.catalogue.releases import EpisodeListItem, Release, ReleaseListItem, ReleaseReader
from kitsu.domain.pagination import PageRequest
from kitsu.errors import NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response, refuse_null
from kitsu.web.request import GuestRequest


class ReleaseController(Controller):
    tags = ["Catalogue"]
    opt = PUBLIC | CACHED
    releases: ReleaseReader

    @get("/releases", dependencies=PAGES, response_headers=[*CATALOGUE_HEADERS, *LIST_HEADERS], responses=NOT_MODIFIED)
    async def list_releases(
        self,
        request: GuestRequest,
        page_request: NamedDependency[PageRequest],
        anime_id: Annotated[UUID | None, query("Only releases of this anime.")] = None,
    ) -> Response[list[ReleaseListItem]]:
        """List releases. Newest first, of one anime or of all."""
        refuse_null(request, "anime_id")
        return page_response(request, await self.releases.page(anime_id, page_request))

    @get("/releases/{release_id:str}", response_headers=CATALOGUE_HEADERS, responses=NOT_MODIFIED | errors(NotFound))
    async def get_release(self, release_id: FromPath[UUID]) -> Release:
        """Get a release."""
        return await self.releases.detail(release_id)

    @get("/episodes", response_headers=CATALOGUE_HEADERS, responses=NOT_MODIFIED | errors(NotFound))
    async def list_episodes(self, release_id: Annotated[UUID, query("The release.")]) -> list[EpisodeListItem]:
        """List the episodes of a release. Returns all episodes, sorted by number."""
        return await self.releases.episodes(release_id)
