"""POST /library/import, and /library/imports."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath
from litestar.response import Stream

from kitsu.controllers.viewer.exports import ExportOperation, attachment
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.list_export.not_imported import UnknownRows
from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.files import MAX_BYTES
from kitsu.domain.viewer.list_import.importing import ListImporter, NeedsJob
from kitsu.domain.viewer.list_import.policies import POLICY_TEXT, Policy
from kitsu.domain.viewer.list_import.reports import ImportedRow, ImportReport
from kitsu.domain.viewer.list_import.runs import (
    LibraryImport,
    LibraryImportDetail,
    LibraryImportReader,
    LibraryImportService,
)
from kitsu.domain.viewer.list_import.storage import Upload
from kitsu.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge
from kitsu.web.guards import WRITES
from kitsu.web.middleware.streams import STREAMED
from kitsu.web.openapi import body_of, documented_header, errors, file, form, operation_with_body, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

FORM_BYTES = 64 * 1024  # of a form beside its file
MAX_FORM_BYTES = MAX_BYTES + FORM_BYTES
MULTIPART = "multipart/form-data"
MEDIA_TYPES = {"xml": "application/xml", "csv": "text/csv", "json": "application/json"}

_json = Schema(
    title="ListExport",
    description="A list as a site exports it, or as its API returns it.",
    type=OpenAPIType.OBJECT,
    additional_properties=Schema(),
    examples=[{"lists": [{"entries": [{"media": {"idMal": 1535}, "status": "CURRENT", "progress": 7}]}]}],
)
_form = form("LibraryImportForm", "A list as a file.", ["file"], file=file("The list."))
LIST_FILE = operation_with_body(
    {
        "application/xml": file(),
        "application/gzip": file(),
        "application/zip": file(),
        "text/csv": file(),
        "application/json": _json,
        MULTIPART: _form,
    },
    description="The file that a site exports, or the response of its API. Its content decides how it is read.",
    required=True,
)


class LibraryImportController(Controller):
    path = "/library"
    tags = ["Viewer"]
    dependencies = {"imports": service(LibraryImportService)}
    reader: LibraryImportReader
    list_importer: ListImporter

    @post(
        "/import",
        status_code=200,
        guards=WRITES,
        request_max_body_size=MAX_FORM_BYTES,
        operation_class=LIST_FILE,
        response_headers=[documented_header("Location", "With 202: the path of the import.", required=False)],
        responses={
            200: body_of(ImportReport, "The list was imported."),
            202: body_of(LibraryImportDetail, "A job imports the list. `GET /library/imports/{id}` has its progress."),
            **errors(Conflict),
        },
    )
    async def import_library(
        self,
        request: ViewerRequest,
        imports: NamedDependency[LibraryImportService],
        policy: Annotated[Policy, query(POLICY_TEXT, title="ImportPolicy")] = "keep",
        dry_run: Annotated[bool, query("Whether to import nothing and only report.")] = False,  # noqa: FBT002 - a query parameter
    ) -> Response[Any]:
        """Import a library. Takes a list of MyAnimeList, AniList, Shikimori, Kitsu, Simkl, Trakt or Yamtrack, and what
        `GET /library/export` and `GET /users/me/export` return. Anime are matched by their ids; by the title only where
        the file has no ids. A file of more than 5 MiB or 5,000 rows is imported by a job, one at a time for each user.
        An entry of the file is newer than an existing one by its time of change, else by the day it was completed or
        begun.
        """
        user_id = request.user.user_id
        upload = Upload(user_id, await _file(request), policy, dry_run)
        try:
            return Response(await self.list_importer.run(upload))
        except NeedsJob:
            import_id = await imports.enqueue(upload)
        except ListTooLarge as error:
            raise PayloadTooLarge(str(error)) from error
        except ListFileError as error:
            raise InvalidRequest([{"field": "file", "message": str(error)}]) from error
        waiting = await self.reader.get(user_id, import_id)
        return Response(waiting, status_code=202, headers={"Location": f"/library/imports/{import_id}"})

    @get("/imports", dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_library_imports(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[LibraryImport]]:
        """List library imports. Newest first. The last ten are kept for 30 days."""
        return page_response(request, await self.reader.page(request.user.user_id, page_request))

    @get("/imports/{import_id:str}", responses=errors(NotFound))
    async def get_library_import(self, request: ViewerRequest, import_id: FromPath[UUID]) -> LibraryImportDetail:
        """Get a library import. Its state and progress, and the report once it is done."""
        return await self.reader.get(request.user.user_id, import_id)

    @get(
        "/imports/{import_id:str}/rows",
        middleware=[STREAMED],
        responses={200: body_of(list[ImportedRow], "All rows of the file."), **errors(NotFound)},
    )
    async def list_imported_rows(self, request: ViewerRequest, import_id: FromPath[UUID]) -> Stream:
        """List the rows of a library import. All rows of the file in its order, and what became of each."""
        _, pieces = await self.reader.open(request.user.user_id, import_id, "rows")
        return await attachment(pieces, "application/json", "kitsu-import.json")

    @get(
        "/imports/{import_id:str}/not-imported",
        middleware=[STREAMED],
        operation_class=ExportOperation,
        responses={
            200: body_of(UnknownRows, "The rows. After an upload of XML or CSV, in that format."),
            **errors(NotFound),
        },
    )
    async def download_not_imported(self, request: ViewerRequest, import_id: FromPath[UUID]) -> Stream:
        """Download the unknown rows of a library import. The rows whose anime was not in the catalogue, as a file to
        import later: XML or CSV if the upload was that, else JSON. The fields are those that the upload had.
        """
        form, pieces = await self.reader.open(request.user.user_id, import_id, "not_imported")
        return await attachment(pieces, MEDIA_TYPES[form], f"kitsu-not-imported.{form}")


async def _file(request: Request[Any, Any, Any]) -> bytes:
    """Return the file, which is the body or a field of a form. Raises InvalidRequest."""
    if request.content_type[0] != MULTIPART:
        return await request.body()
    files = (await request.form()).getall("file", [])
    if len(files) != 1 or not isinstance(files[0], UploadFile):
        raise InvalidRequest([{"field": "file", "message": "Expected one file"}])
    return await files[0].read()
