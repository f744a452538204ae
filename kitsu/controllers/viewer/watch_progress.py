"""The paths under /watch."""

from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.watch_progress import NewProgress, WatchProgress, WatchProgressReader, WatchProgressService
from kitsu.errors import BadRequest, Forbidden, InvalidRequest, NotFound, Unauthorized
from kitsu.web.authentication import requires
from kitsu.web.openapi import BEARER, errors
from kitsu.web.pagination import (
    CHANGES_HEADERS,
    LIST_HEADERS,
    LISTS,
    PAGES,
    list_response,
    page_response,
)
from kitsu.web.preconditions import IdempotencyKey, idempotent_request
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service


class WatchProgressController(Controller):
    """How far a viewer is."""

    path = "/watch"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER
    dependencies = {"watch_progress": service(WatchProgressService)}  # noqa: RUF012 - Litestar's way to declare
    reader: WatchProgressReader

    @post(
        "/progress",
        status_code=200,
        guards=[requires("write:content")],
        operation_id="postWatchProgress",
        summary="Store how far one is in an anime",
        response_description="The progress as it is now.",
        responses=errors(BadRequest, Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def post_progress(
        self,
        request: ViewerRequest,
        data: JSONBody[NewProgress],
        watch_progress: NamedDependency[WatchProgressService],
        idempotency_key: IdempotencyKey = None,
    ) -> WatchProgress:
        """One place for each anime. A library entry that exists follows: watching, and completed with the last episode
        (nine tenths of it are all of it).
        """
        return await watch_progress.post(request.user.user_id, data, idempotent_request(idempotency_key, request, data))

    @get(
        "/progress",
        operation_id="listWatchProgress",
        summary="List one's progress in all anime",
        response_description="A part of the progress.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_progress(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
    ) -> Response[list[WatchProgress | Tombstone]]:
        """All of it, what was hidden from "continue watching" too; last watched first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @get(
        "/continue",
        operation_id="listContinueWatching",
        summary="List what to go on watching",
        response_description="A part of the list.",
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_continue(
        self,
        request: ViewerRequest,
        page_request: NamedDependency[PageRequest],
    ) -> Response[list[WatchProgress]]:
        """Last watched first, without what the library says is completed or dropped."""
        return page_response(request, await self.reader.to_continue(request.user.user_id, page_request))

    @delete(
        "/continue/{anime_id:str}",
        guards=[requires("write:content")],
        operation_id="hideFromContinueWatching",
        summary="Leave an anime out of what to go on watching",
        response_description="It is left out, or was before.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def hide(
        self, request: ViewerRequest, anime_id: FromPath[UUID], watch_progress: NamedDependency[WatchProgressService]
    ) -> None:
        """Its progress stays, and it comes back when it is played again."""
        await watch_progress.hide(request.user.user_id, anime_id)
