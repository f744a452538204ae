"""The paths under /watch."""

from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.watch_progress import (
    NewProgress,
    WatchProgress,
    WatchProgressReader,
    WatchProgressRecorder,
    WatchProgressService,
)
from kitsu.errors import BadRequest, NotFound
from kitsu.web.guards import requires
from kitsu.web.openapi import errors
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
    dependencies = {"watch_progress": service(WatchProgressService)}  # noqa: RUF012 - Litestar's way to declare
    reader: WatchProgressReader
    recorder: WatchProgressRecorder

    @post(
        "/progress",
        status_code=200,
        guards=[requires("write:content")],
        summary="Store how far one is in an anime",
        response_description="The progress as it is now.",
        responses=errors(BadRequest, NotFound),
    )
    async def post_watch_progress(
        self,
        request: ViewerRequest,
        data: JSONBody[NewProgress],
        idempotency_key: IdempotencyKey = None,
    ) -> WatchProgress:
        """One place for each anime. A library entry that exists follows: watching, and completed with the last episode
        (nine tenths of it are all of it).
        """
        return await self.recorder.post(request.user.user_id, data, idempotent_request(idempotency_key, request, data))

    @get(
        "/progress",
        summary="List one's progress in all anime",
        response_description="A part of the progress.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
    )
    async def list_watch_progress(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
    ) -> Response[list[WatchProgress | Tombstone]]:
        """All of it, what was hidden from "continue watching" too; last watched first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @get(
        "/continue",
        summary="List what to go on watching",
        response_description="A part of the list.",
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
    )
    async def list_continue_watching(
        self,
        request: ViewerRequest,
        page_request: NamedDependency[PageRequest],
    ) -> Response[list[WatchProgress]]:
        """Last watched first, without what the library says is completed or dropped."""
        return page_response(request, await self.reader.to_continue(request.user.user_id, page_request))

    @delete(
        "/continue/{anime_id:str}",
        guards=[requires("write:content")],
        summary="Leave an anime out of what to go on watching",
        response_description="It is left out, or was before.",
    )
    async def hide_from_continue_watching(
        self, request: ViewerRequest, anime_id: FromPath[UUID], watch_progress: NamedDependency[WatchProgressService]
    ) -> None:
        """Its progress stays, and it comes back when it is played again."""
        await watch_progress.hide(request.user.user_id, anime_id)
