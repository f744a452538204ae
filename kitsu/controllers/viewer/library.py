"""The paths under /library."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.library import (
    LibraryChange,
    LibraryEntry,
    LibraryReader,
    LibraryService,
    NewLibraryEntry,
    Status,
)
from kitsu.errors import InvalidRequest, NotFound, PreconditionFailed
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors, query
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response, page_response, refuse_null
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service
from kitsu.web.validation import read_filters


class LibraryController(Controller):
    path = "/library"
    tags = ["Viewer"]
    dependencies = {"library": service(LibraryService)}
    reader: LibraryReader

    @get("/", before_request=read_filters, dependencies=LISTS, response_headers=CHANGES_HEADERS)
    async def list_library(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
        status: Annotated[Status | None, query("Only entries of this status; not for a list of changes.")] = None,
    ) -> Response[list[LibraryEntry | Tombstone]]:
        """List the library. Last changed first."""
        refuse_null(request, "status")
        if status is None:
            return list_response(request, await self.reader.read(request.user.user_id, list_request))
        if list_request.changes is not None:
            # A list of changes of one status would not show an entry that left the status.
            raise InvalidRequest([{"field": "status", "message": "Not for a list of changes"}])
        return page_response(request, await self.reader.of_status(request.user.user_id, status, list_request.page))

    @get("/{anime_id:str}", response_headers=[ETAG], responses=errors(NotFound))
    async def get_library_entry(self, request: ViewerRequest, anime_id: FromPath[UUID]) -> Response[LibraryEntry]:
        """Get a library entry."""
        return tagged(await self.reader.detail(request.user.user_id, anime_id))

    @put(
        "/{anime_id:str}",
        guards=WRITES,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=errors(NotFound, PreconditionFailed),
    )
    async def put_library_entry(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[NewLibraryEntry],
        library: NamedDependency[LibraryService],
        expected: IfMatch,
    ) -> Response[LibraryEntry]:
        """Create or update a library entry. Omitted score and notes become null. Other omitted fields keep their value:
        with a new status `watching` or `completed` the days and the watched episodes follow, where they are not given.
        """
        return tagged(await library.put(request.user.user_id, anime_id, data, expected))

    @patch(
        "/{anime_id:str}",
        guards=WRITES,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=errors(NotFound, PreconditionFailed),
    )
    async def change_library_entry(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[LibraryChange],
        library: NamedDependency[LibraryService],
        expected: IfMatch,
    ) -> Response[LibraryEntry]:
        """Update a library entry. Changes only the given fields, and what follows from a new status. Later watch
        progress counts from there.
        """
        return tagged(await library.change(request.user.user_id, anime_id, data, expected))

    @delete("/{anime_id:str}", guards=WRITES, dependencies=EXPECTED, responses=errors(PreconditionFailed))
    async def remove_library_entry(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        library: NamedDependency[LibraryService],
        expected: IfMatch,
    ) -> None:
        """Remove a library entry. It is not an error if it does not exist. The watch progress stays."""
        await library.remove(request.user.user_id, anime_id, expected)
