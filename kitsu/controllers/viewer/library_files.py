"""POST /library/import and GET /library/export: lists that travel between sites."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from litestar import Controller, Request, get, post
from litestar.datastructures import UploadFile
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import QueryParameter
from litestar.response import Stream

from kitsu.domain.accounts.users import UserReader
from kitsu.domain.viewer.library_export import LibraryExport, LibraryExporter
from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.files import MAX_BYTES
from kitsu.domain.viewer.list_import.importing import ImportReport, ListImporter, Policy
from kitsu.errors import InvalidRequest, PayloadTooLarge
from kitsu.web.guards import requires
from kitsu.web.middleware.streams import STREAMED, start_stream
from kitsu.web.request import ViewerRequest

FORM = 64 * 1024
"""Bytes of a form beside the file."""


@dataclass
class ListOperation(Operation):
    """Takes a file, as the body or in a form, which a handler's signature can't say."""

    def __post_init__(self) -> None:
        """Describe the body."""
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file})
        self.request_body = RequestBody(
            description="the list: MyAnimeList's XML, gzip-compressed or not, or AniList's JSON",
            content={
                "application/xml": OpenAPIMediaType(schema=file),
                "application/gzip": OpenAPIMediaType(schema=file),
                "application/json": OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT)),
                "multipart/form-data": OpenAPIMediaType(schema=form),
            },
        )


class LibraryFileController(Controller):
    """A library as a file: lists of other sites come in, and the library goes out."""

    path = "/library"
    tags = ["Viewer"]
    list_importer: ListImporter
    library_exporter: LibraryExporter
    users: UserReader

    @post(
        "/import",
        status_code=200,
        guards=[requires("write:content")],
        request_max_body_size=MAX_BYTES + FORM,
        operation_class=ListOperation,
    )
    async def import_library(
        self,
        request: ViewerRequest,
        policy: Annotated[
            Policy,
            QueryParameter(
                description="of an entry that is there already: `keep` it, `replace` it, or replace it when the file's "
                "is `newer`, by its time of change, else by the day it was completed or begun"
            ),
        ] = "keep",
        dry_run: Annotated[  # noqa: FBT002 - a query parameter
            bool, QueryParameter(description="only say what would become of the entries")
        ] = False,
    ) -> ImportReport:
        """Import a library.

        Takes a list of MyAnimeList or AniList. Anime are matched by their ids there; an anime that is known
        only by its title is suggested in the report and not imported.
        """
        try:
            return await self.list_importer.run(request.user.user_id, await _file(request), policy, dry_run=dry_run)
        except ListTooLarge as error:
            raise PayloadTooLarge from error
        except ListFileError as error:
            raise InvalidRequest([{"field": "file", "message": str(error)}]) from error

    @get(
        "/export",
        middleware=[STREAMED],
        responses={
            200: ResponseSpec(LibraryExport, description="The library; with `format=mal` XML.", generate_examples=False)
        },
    )
    async def export_library(
        self,
        request: ViewerRequest,
        format: Annotated[  # noqa: A002 - the parameter's name in the contract
            Literal["json", "mal"], QueryParameter(description="`mal`: the XML that MyAnimeList takes back")
        ] = "json",
    ) -> Stream:
        """Export the library.

        By title. The XML for MyAnimeList leaves out anime that have no id there.
        """
        user_id = request.user.user_id
        if format == "json":
            pieces, media_type, name = self.library_exporter.as_json(user_id), "application/json", "kitsu-library.json"
        else:
            user = await self.users.detail(user_id)
            pieces = self.library_exporter.as_myanimelist(user_id, user.username)
            media_type, name = "application/xml", "animelist.xml"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Stream(await start_stream(pieces), media_type=media_type, headers=headers)


async def _file(request: Request[Any, Any, Any]) -> bytes:
    """The file, be it the body or a field of a form. Raises InvalidRequest."""
    if request.content_type[0] != "multipart/form-data":
        return await request.body()
    files = (await request.form()).getall("file", [])
    if len(files) != 1 or not isinstance(files[0], UploadFile):
        raise InvalidRequest([{"field": "file", "message": "Expected one file"}])
    return await files[0].read()
