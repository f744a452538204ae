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
    """The catalogue's episodes."""

    path = "/episodes"
    tags = ["Catalogue"]  # noqa: RUF012 - Litestar's way to declare
    opt = PUBLIC | CACHED
    episodes: EpisodeReader

    @get(
        "/",
        summary="List the episodes of a release",
        response_description="The episodes.",
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(NotFound),
    )
    async def list_episodes(
        self,
        release_id: Annotated[UUID, QueryParameter(description="the release")],
    ) -> list[EpisodeListItem]:
        """All episodes of the release, by number."""
        return await self.episodes.of_release(release_id)
