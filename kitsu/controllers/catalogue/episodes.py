"""GET /episodes."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, get
from litestar.params import QueryParameter

from kitsu.domain.catalogue.episodes import EpisodeListItem, EpisodeReader
from kitsu.errors import NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors


class EpisodeController(Controller):
    """The episodes of the catalogue."""

    path = "/episodes"
    tags = ["Catalogue"]
    opt = PUBLIC | CACHED
    episodes: EpisodeReader

    @get("/", response_headers=CATALOGUE_HEADERS, responses=NOT_MODIFIED | errors(NotFound))
    async def list_episodes(
        self, release_id: Annotated[UUID, QueryParameter(description="the release")]
    ) -> list[EpisodeListItem]:
        """List the episodes of a release.

        Returns all episodes, sorted by number.
        """
        return await self.episodes.of_release(release_id)
