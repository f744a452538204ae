"""GET /users/me/export."""

from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.viewer.account_export import AccountExporter
from kitsu.errors import Unauthorized
from kitsu.web.authentication import LOGIN_REQUIRED
from kitsu.web.openapi import BEARER, errors


@get(
    "/users/me/export",
    tags=["Accounts"],
    security=BEARER,
    opt=LOGIN_REQUIRED,
    operation_id="exportMe",
    summary="Take along all that is stored about oneself",
    responses=errors(Unauthorized)
    | {200: ResponseSpec(dict[str, Any], description="Everything, as one JSON object.", generate_examples=False)},
)
async def export_me(account_exporter: NamedDependency[AccountExporter], identity: NamedDependency[Identity]) -> Stream:
    """The account, its sessions, favourites, progress, history, library and collections."""
    return Stream(
        account_exporter.pieces(identity.user_id),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="kitsu-account.json"'},
    )
