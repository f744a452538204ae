"""GET /users/me/export and GET /library/export."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Literal

from litestar import Controller, get
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.response import Stream

from kitsu.domain.viewer.exports import AccountExport, Exporter, LibraryExport
from kitsu.web.middleware.streams import STREAMED, start_stream
from kitsu.web.openapi import body_of, query
from kitsu.web.request import ViewerRequest

Format = Annotated[Literal["json", "mal"], query("`mal` is the XML that MyAnimeList imports.", title="ExportFormat")]


@dataclass
class ExportOperation(Operation):
    """Describes the XML of the response, since Litestar takes one media type for each status."""

    def __post_init__(self) -> None:
        response = (self.responses or {})["200"]
        if isinstance(response, OpenAPIResponse) and response.content:
            response.content["application/xml"] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


class ExportController(Controller):
    exporter: Exporter

    @get(
        "/users/me/export",
        tags=["Accounts"],
        middleware=[STREAMED],
        responses={200: body_of(AccountExport, "All data that is stored about the user.")},
    )
    async def export_me(self, request: ViewerRequest) -> Stream:
        """Export the current user. The account, its sessions, favourites, progress, history, library and collections,
        as JSON.
        """
        pieces = self.exporter.account_json(request.user.user_id)
        return await _attachment(pieces, "application/json", "kitsu-account.json")

    @get(
        "/library/export",
        tags=["Viewer"],
        middleware=[STREAMED],
        operation_class=ExportOperation,
        responses={200: body_of(LibraryExport, "The library. With `format=mal` it is XML.")},
    )
    async def export_library(self, request: ViewerRequest, format: Format = "json") -> Stream:  # noqa: A002 - a query parameter
        """Export the library. Sorted by title. The XML for MyAnimeList has only the anime with an id there."""
        user_id = request.user.user_id
        if format == "mal":
            return await _attachment(self.exporter.library_xml(user_id), "application/xml", "animelist.xml")
        return await _attachment(self.exporter.library_json(user_id), "application/json", "kitsu-library.json")


async def _attachment(pieces: AsyncIterator[bytes], media_type: str, filename: str) -> Stream:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Stream(await start_stream(pieces), media_type=media_type, headers=headers)
