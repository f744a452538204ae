"""The paths under /library."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.versions import Expected
from kitsu.domain.viewer.library import LibraryEntry, LibraryReader, LibraryService, NewEntry, Status
from kitsu.errors import Forbidden, InvalidRequest, NotFound, PreconditionFailed, Unauthorized
from kitsu.web.authentication import requires
from kitsu.web.openapi import BEARER, errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response, page_response, refuse_null
from kitsu.web.preconditions import ETAG, provide_expected, tagged
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service


class LibraryController(Controller):
    """A viewer's list."""

    path = "/library"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER
    dependencies = {"library": service(LibraryService)}  # noqa: RUF012 - Litestar's way to declare
    reader: LibraryReader

    @get(
        "/",
        operation_id="listLibrary",
        summary="List one's library",
        response_description="A part of the library.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_library(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
        status: Annotated[
            Status | None, QueryParameter(description="only of this status; not for a list of changes")
        ] = None,
    ) -> Response[list[LibraryEntry | Tombstone]]:
        """The anime on the caller's list, changed last first."""
        refuse_null(request, "status")
        if status is None:
            return list_response(request, await self.reader.read(request.user.user_id, list_request))
        if list_request.changes is not None:
            # A list of changes of one status would not show an entry that left the status.
            raise InvalidRequest([{"field": "status", "message": "Not for a list of changes"}])
        return page_response(request, await self.reader.of_status(request.user.user_id, status, list_request.page))

    @get(
        "/{anime_id:str}",
        operation_id="getLibraryEntry",
        summary="Get one entry of one's library",
        response_description="The entry.",
        response_headers=[ETAG],
        responses=errors(Unauthorized, NotFound, InvalidRequest),
    )
    async def get_entry(self, request: ViewerRequest, anime_id: FromPath[UUID]) -> Response[LibraryEntry]:
        """What the caller's list says of an anime."""
        return _tagged(await self.reader.detail(request.user.user_id, anime_id))

    @put(
        "/{anime_id:str}",
        guards=[requires("write:content")],
        operation_id="putLibraryEntry",
        summary="Put an anime on one's list, or change what it says",
        response_description="The entry as it is now.",
        dependencies={"expected": Provide(provide_expected, sync_to_thread=False)},
        response_headers=[ETAG],
        responses=errors(Unauthorized, Forbidden, NotFound, PreconditionFailed, InvalidRequest),
    )
    async def put_entry(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[NewEntry],
        library: NamedDependency[LibraryService],
        expected: NamedDependency[Expected | None],
    ) -> Response[LibraryEntry]:
        """Status, score and notes are what the body says. Dates and episodes follow: they are never taken back."""
        return _tagged(await library.put(request.user.user_id, anime_id, data, expected))

    @delete(
        "/{anime_id:str}",
        guards=[requires("write:content")],
        operation_id="removeLibraryEntry",
        summary="Take an anime off one's list",
        response_description="It is not on it, or was not before.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def remove_entry(
        self, request: ViewerRequest, anime_id: FromPath[UUID], library: NamedDependency[LibraryService]
    ) -> None:
        """No error when it was not on it. The watch progress stays."""
        await library.remove(request.user.user_id, anime_id)


def _tagged(entry: LibraryEntry) -> Response[LibraryEntry]:
    return tagged(entry, entry.id, entry.version)
