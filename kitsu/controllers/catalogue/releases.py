"""The paths under /releases and /episodes."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.controllers.catalogue.anime import CHANGED, DryRun
from kitsu.domain.catalogue.editing import EpisodeService, ReleaseService
from kitsu.domain.catalogue.edits import Deletion, EpisodeChange, NewEpisode, NewRelease, ReleaseChange
from kitsu.domain.catalogue.releases import EpisodeListItem, Release, ReleaseListItem, ReleaseReader
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import EDITS
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response, refuse_null
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged_by_content
from kitsu.web.request import GuestRequest, ViewerRequest
from kitsu.web.services import service
from kitsu.web.validation import read_filters


class ReleaseController(Controller):
    path = "/releases"
    tags = ["Catalogue"]
    dependencies = {"editing": service(ReleaseService)}
    releases: ReleaseReader

    @get(
        "/",
        opt=PUBLIC | CACHED,
        before_request=read_filters,
        dependencies=PAGES,
        response_headers=[*CATALOGUE_HEADERS, *LIST_HEADERS],
        responses=NOT_MODIFIED,
    )
    async def list_releases(
        self,
        request: GuestRequest,
        page_request: NamedDependency[PageRequest],
        anime_id: Annotated[UUID | None, query("Only releases of this anime.")] = None,
    ) -> Response[list[ReleaseListItem]]:
        """List releases. Newest first, of one anime or of all."""
        refuse_null(request, "anime_id")
        return page_response(request, await self.releases.page(anime_id, page_request))

    @get(
        "/{release_id:str}",
        opt=PUBLIC | CACHED,
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(NotFound),
    )
    async def get_release(self, release_id: FromPath[UUID]) -> Release:
        """Get a release."""
        return await self.releases.detail(release_id)

    @post("/", guards=EDITS, response_headers=[ETAG], responses=errors(NotFound))
    async def add_release(
        self, request: ViewerRequest, data: JSONBody[NewRelease], editing: NamedDependency[ReleaseService]
    ) -> Response[Release]:
        """Create a release. With `episode_count` its episodes from 1 are created, too."""
        return tagged_by_content(await editing.add(request.user.user_id, data))

    @patch("/{release_id:str}", guards=EDITS, dependencies=EXPECTED, response_headers=[ETAG], responses=CHANGED)
    async def change_release(
        self,
        request: ViewerRequest,
        release_id: FromPath[UUID],
        data: JSONBody[ReleaseChange],
        editing: NamedDependency[ReleaseService],
        expected: IfMatch,
    ) -> Response[Release]:
        """Update a release. Omitted fields keep their value. Imports do not overwrite the changed fields."""
        return tagged_by_content(await editing.change(request.user.user_id, release_id, data, expected))

    @delete("/{release_id:str}", guards=EDITS, dependencies=EXPECTED, status_code=200, responses=CHANGED)
    async def remove_release(
        self,
        request: ViewerRequest,
        release_id: FromPath[UUID],
        editing: NamedDependency[ReleaseService],
        expected: IfMatch,
        dry_run: DryRun = False,  # noqa: FBT002 - a query parameter
    ) -> Deletion:
        """Delete a release. Its episodes are deleted with it, and viewers' views of them."""
        return await editing.remove(request.user.user_id, release_id, expected, dry_run=dry_run)


class EpisodeController(Controller):
    path = "/episodes"
    tags = ["Catalogue"]
    dependencies = {"editing": service(EpisodeService)}
    releases: ReleaseReader

    @get("/", opt=PUBLIC | CACHED, response_headers=CATALOGUE_HEADERS, responses=NOT_MODIFIED | errors(NotFound))
    async def list_episodes(self, release_id: Annotated[UUID, query("The release.")]) -> list[EpisodeListItem]:
        """List the episodes of a release. Returns all episodes, sorted by number."""
        return await self.releases.episodes(release_id)

    @post("/", guards=EDITS, response_headers=[ETAG], responses=errors(NotFound, Conflict))
    async def add_episode(
        self, request: ViewerRequest, data: JSONBody[NewEpisode], editing: NamedDependency[EpisodeService]
    ) -> Response[EpisodeListItem]:
        """Create an episode. A release has each number once."""
        return tagged_by_content(await editing.add(request.user.user_id, data))

    @patch(
        "/{episode_id:str}",
        guards=EDITS,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=CHANGED | errors(Conflict),
    )
    async def change_episode(
        self,
        request: ViewerRequest,
        episode_id: FromPath[UUID],
        data: JSONBody[EpisodeChange],
        editing: NamedDependency[EpisodeService],
        expected: IfMatch,
    ) -> Response[EpisodeListItem]:
        """Update an episode. Omitted fields keep their value."""
        return tagged_by_content(await editing.change(request.user.user_id, episode_id, data, expected))

    @delete("/{episode_id:str}", guards=EDITS, dependencies=EXPECTED, status_code=200, responses=CHANGED)
    async def remove_episode(
        self,
        request: ViewerRequest,
        episode_id: FromPath[UUID],
        editing: NamedDependency[EpisodeService],
        expected: IfMatch,
        dry_run: DryRun = False,  # noqa: FBT002 - a query parameter
    ) -> Deletion:
        """Delete an episode. Viewers' views of it are deleted with it."""
        return await editing.remove(request.user.user_id, episode_id, expected, dry_run=dry_run)
