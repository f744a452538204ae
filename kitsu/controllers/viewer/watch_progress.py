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
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors
from kitsu.web.pagination import CHANGES_HEADERS, LIST_HEADERS, LISTS, PAGES, list_response, page_response
from kitsu.web.preconditions import IDEMPOTENT, idempotent_request
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service


class WatchProgressController(Controller):
    path = "/watch"
    tags = ["Viewer"]
    dependencies = {"watch_progress": service(WatchProgressService)}
    reader: WatchProgressReader
    recorder: WatchProgressRecorder

    @post("/progress", opt=IDEMPOTENT, status_code=200, guards=WRITES, responses=errors(BadRequest, NotFound))
    async def post_watch_progress(self, request: ViewerRequest, data: JSONBody[NewProgress]) -> WatchProgress:
        """Update watch progress. There is one position per anime. The library entry of the anime follows: it becomes
        `watching`, and `completed` when 90 % of the last episode are watched.
        """
        return await self.recorder.record(request.user.user_id, data, idempotent_request(request, data))

    @get("/progress", dependencies=LISTS, response_headers=CHANGES_HEADERS)
    async def list_watch_progress(
        self, request: ViewerRequest, list_request: NamedDependency[ListRequest]
    ) -> Response[list[WatchProgress | Tombstone]]:
        """List watch progress. Last watched first, including anime that are hidden from continue watching."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @get("/continue", dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_continue_watching(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[WatchProgress]]:
        """List continue watching. Last watched first, without anime that are completed or dropped in the library."""
        return page_response(request, await self.reader.to_continue(request.user.user_id, page_request))

    @delete("/continue/{anime_id:str}", guards=WRITES)
    async def hide_from_continue_watching(
        self, request: ViewerRequest, anime_id: FromPath[UUID], watch_progress: NamedDependency[WatchProgressService]
    ) -> None:
        """Hide an anime from continue watching. Its progress stays. It reappears when it is played again."""
        await watch_progress.hide(request.user.user_id, anime_id)
