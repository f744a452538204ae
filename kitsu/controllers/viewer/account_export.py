"""GET /users/me/export."""

from typing import Any

from litestar import Controller, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from kitsu.domain.viewer.account_export import AccountExporter
from kitsu.web.middleware.streams import STREAMED, start_stream
from kitsu.web.request import ViewerRequest


class AccountExportController(Controller):
    path = "/users/me/export"
    tags = ["Accounts"]
    account_exporter: AccountExporter

    @get(
        "/",
        middleware=[STREAMED],
        responses={
            200: ResponseSpec(dict[str, Any], description="Everything, as one JSON object.", generate_examples=False)
        },
    )
    async def export_me(self, request: ViewerRequest) -> Stream:
        """Export the current user.

        The account, its sessions, favourites, progress, history, library and collections, as JSON.
        """
        return Stream(
            await start_stream(self.account_exporter.pieces(request.user.user_id)),
            media_type="application/json",
            headers={"Content-Disposition": 'attachment; filename="kitsu-account.json"'},
        )
