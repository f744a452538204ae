"""The paths under /profiles."""

from typing import Annotated

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter

from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.library import Status
from kitsu.domain.viewer.profiles import Profile, ProfileEntry, ProfileReader
from kitsu.errors import NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.openapi import errors, parameter, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response, refuse_null
from kitsu.web.request import GuestRequest
from kitsu.web.validation import read_filters

Username = Annotated[str, parameter(PathParameter, "The public name of the viewer, in any case.", "kaguya")]


class ProfileController(Controller):
    path = "/profiles"
    tags = ["Viewer"]
    reader: ProfileReader

    @get("/{username:str}", opt=PUBLIC, responses=errors(NotFound))
    async def get_profile(self, username: Username) -> Profile:
        """Get a profile. Viewers publish theirs with `is_public` in `PATCH /users/me`; others do not exist here."""
        return await self.reader.detail(username)

    @get(
        "/{username:str}/library",
        opt=PUBLIC,
        before_request=read_filters,
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(NotFound),
    )
    async def list_profile_library(
        self,
        request: GuestRequest,
        username: Username,
        page_request: NamedDependency[PageRequest],
        status: Annotated[Status | None, query("Only entries of this status.")] = None,
    ) -> Response[list[ProfileEntry]]:
        """List the library of a profile. Without notes and tags. Last changed first."""
        refuse_null(request, "status")
        return page_response(request, await self.reader.library(username, status, page_request))
