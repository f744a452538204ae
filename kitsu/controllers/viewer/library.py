"""The paths under /library."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.library import LibraryEntry, LibraryReader, LibraryService, NewLibraryEntry, Status
from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.files import MAX_BYTES
from kitsu.domain.viewer.list_import.importing import ImportReport, ListImporter, Policy
from kitsu.errors import InvalidRequest, NotFound, PayloadTooLarge, PreconditionFailed
from kitsu.web.guards import WRITES, filters
from kitsu.web.openapi import errors, file, form, operation_with_body, query
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response, page_response, refuse_null
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

FORM_BYTES = 64 * 1024  # of a form beside its file
MAX_FORM_BYTES = MAX_BYTES + FORM_BYTES
MULTIPART = "multipart/form-data"

_anilist = Schema(
    title="AniListExport",
    description="A list as AniList's API returns it.",
    type=OpenAPIType.OBJECT,
    additional_properties=Schema(),
    examples=[{"lists": [{"entries": [{"media": {"idMal": 1535}, "status": "CURRENT", "progress": 7}]}]}],
)
_form = form("LibraryImportForm", "A list as a file.", ["file"], file=file("The XML or JSON."))
LIST_FILE = operation_with_body(
    {"application/xml": file(), "application/gzip": file(), "application/json": _anilist, MULTIPART: _form},
    description="The XML of MyAnimeList, gzip-compressed or not, or the JSON of AniList.",
    required=True,
)


class LibraryController(Controller):
    path = "/library"
    tags = ["Viewer"]
    dependencies = {"library": service(LibraryService)}
    reader: LibraryReader
    list_importer: ListImporter

    @get("/", guards=[filters], dependencies=LISTS, response_headers=CHANGES_HEADERS)
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
        """Create or update a library entry. Sets status, score and notes. Dates and watched episodes follow from the
        status and never go back.
        """
        return tagged(await library.put(request.user.user_id, anime_id, data, expected))

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

    @post("/import", status_code=200, guards=WRITES, request_max_body_size=MAX_FORM_BYTES, operation_class=LIST_FILE)
    async def import_library(
        self,
        request: ViewerRequest,
        policy: Annotated[Policy, query("Whether to keep or replace existing entries.", title="ImportPolicy")] = "keep",
        dry_run: Annotated[bool, query("Whether to import nothing and only report.")] = False,  # noqa: FBT002 - a query parameter
    ) -> ImportReport:
        """Import a library. Takes a list of MyAnimeList or AniList. Anime are matched by their ids there; an anime that
        is known only by its title is suggested in the report and not imported. An entry of the file is newer than an
        existing one by its time of change, else by the day it was completed or begun. The policy `newer` replaces older
        entries.
        """
        try:
            return await self.list_importer.run(request.user.user_id, await _file(request), policy, dry_run=dry_run)
        except ListTooLarge as error:
            raise PayloadTooLarge from error
        except ListFileError as error:
            raise InvalidRequest([{"field": "file", "message": str(error)}]) from error


async def _file(request: Request[Any, Any, Any]) -> bytes:
    """Return the file, which is the body or a field of a form. Raises InvalidRequest."""
    if request.content_type[0] != MULTIPART:
        return await request.body()
    files = (await request.form()).getall("file", [])
    if len(files) != 1 or not isinstance(files[0], UploadFile):
        raise InvalidRequest([{"field": "file", "message": "Expected one file"}])
    return await files[0].read()
