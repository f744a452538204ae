"""GET /users/me/export and GET /library/export."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from litestar import Controller, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from kitsu.domain.viewer.exports import Exporter, LibraryExport
from kitsu.web.middleware.streams import STREAMED, start_stream
from kitsu.web.request import ViewerRequest

Format = Annotated[Literal["json", "mal"], QueryParameter(description="`mal`: the XML that MyAnimeList imports")]


class ExportController(Controller):
    exporter: Exporter

    @get(
        "/users/me/export",
        tags=["Accounts"],
        middleware=[STREAMED],
        responses={200: ResponseSpec(dict[str, Any], generate_examples=False)},
    )
    async def export_me(self, request: ViewerRequest) -> Stream:
        """Export the current user.

        The account, its sessions, favourites, progress, history, library and collections, as JSON.
        """
        pieces = self.exporter.account_json(request.user.user_id)
        return await _attachment(pieces, "application/json", "kitsu-account.json")

    @get(
        "/library/export",
        tags=["Viewer"],
        middleware=[STREAMED],
        responses={200: ResponseSpec(LibraryExport, generate_examples=False)},
    )
    async def export_library(self, request: ViewerRequest, format: Format = "json") -> Stream:  # noqa: A002 - a query parameter
        """Export the library.

        By title. The XML for MyAnimeList leaves out anime that have no id there.
        """
        user_id = request.user.user_id
        if format == "mal":
            return await _attachment(self.exporter.library_xml(user_id), "application/xml", "animelist.xml")
        return await _attachment(self.exporter.library_json(user_id), "application/json", "kitsu-library.json")


async def _attachment(pieces: AsyncIterator[bytes], media_type: str, filename: str) -> Stream:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Stream(await start_stream(pieces), media_type=media_type, headers=headers)
