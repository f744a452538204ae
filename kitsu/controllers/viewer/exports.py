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

Format = Annotated[
    Literal["json", "csv", "mal"],
    query(
        "`json` has all fields, `csv` is for spreadsheets, and `mal` is the XML for MyAnimeList.", title="ExportFormat"
    ),
]


@dataclass
class ExportOperation(Operation):
    """Describes the XML and the CSV of the response, since Litestar takes one media type for each status."""

    def __post_init__(self) -> None:
        response = (self.responses or {})["200"]
        if isinstance(response, OpenAPIResponse) and response.content:
            for media_type in ("application/xml", "text/csv"):
                response.content[media_type] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


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
        return await attachment(pieces, "application/json", "kitsu-account.json")

    @get(
        "/library/export",
        tags=["Viewer"],
        middleware=[STREAMED],
        operation_class=ExportOperation,
        responses={200: body_of(LibraryExport, "The library. With `format=csv` it is CSV, with `format=mal` XML.")},
    )
    async def export_library(self, request: ViewerRequest, format: Format = "json") -> Stream:  # noqa: A002 - a query parameter
        """Export the library. Sorted by title. `POST /library/import` takes all formats. The XML for MyAnimeList has
        only the anime with an id there, and whole points; its comments name what is left out. An anime that is watched
        again is completed there, with the mark `my_rewatching`.
        """
        user_id = request.user.user_id
        if format == "csv":
            return await attachment(self.exporter.library_csv(user_id), "text/csv", "kitsu-library.csv")
        if format == "mal":
            return await attachment(self.exporter.library_xml(user_id), "application/xml", "animelist.xml")
        return await attachment(self.exporter.library_json(user_id), "application/json", "kitsu-library.json")


async def attachment(pieces: AsyncIterator[bytes], media_type: str, filename: str) -> Stream:
    """Return a file to save."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Stream(await start_stream(pieces), media_type=media_type, headers=headers)
