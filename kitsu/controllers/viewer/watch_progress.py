"""The paths under /watch."""

from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.progress_batch import MAX_REPORTS, BatchRecorder, BatchResults, NewBatch
from kitsu.domain.viewer.watch_progress import (
    NewProgress,
    WatchProgress,
    WatchProgressReader,
    WatchProgressRecorder,
    WatchProgressService,
)
from kitsu.errors import BadRequest, Conflict, NotFound
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors
from kitsu.web.pagination import CHANGES_HEADERS, LIST_HEADERS, LISTS, PAGES, list_response, page_response
from kitsu.web.preconditions import IDEMPOTENT, idempotent_request
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

MAX_BATCH_BYTES = MAX_REPORTS * 1024


class WatchProgressController(Controller):
    path = "/watch"
    tags = ["Viewer"]
    dependencies = {"watch_progress": service(WatchProgressService)}
    reader: WatchProgressReader
    recorder: WatchProgressRecorder
    batches: BatchRecorder

    @post("/progress", opt=IDEMPOTENT, status_code=200, guards=WRITES, responses=errors(BadRequest, NotFound, Conflict))
    async def post_watch_progress(self, request: ViewerRequest, data: JSONBody[NewProgress]) -> WatchProgress:
        """Update watch progress. There is one position per anime; an older report changes no newer one. At 90 % an
        episode is finished: it is recorded in the history, and the library entry of the anime follows.
        """
        return await self.recorder.record(request.user.user_id, data, idempotent_request(request, data))

    @post(
        "/progress/batch",
        opt=IDEMPOTENT,
        status_code=200,
        guards=WRITES,
        request_max_body_size=MAX_BATCH_BYTES,
        responses=errors(Conflict),
    )
    async def post_watch_progress_batch(self, request: ViewerRequest, data: JSONBody[NewBatch]) -> BatchResults:
        """Update watch progress of many episodes. For devices that were offline. Each report is stored, or refused with
        an error of its own. When the history is full, no report is stored, and the response is 409.
        """
        idempotent = idempotent_request(request, data, len(data.reports))
        return await self.batches.record(request.user.user_id, data, idempotent)

    @delete("/progress/{anime_id:str}", guards=WRITES)
    async def remove_watch_progress(
        self, request: ViewerRequest, anime_id: FromPath[UUID], watch_progress: NamedDependency[WatchProgressService]
    ) -> None:
        """Remove watch progress. It is not an error if it does not exist. The library and the history stay."""
        await watch_progress.remove(request.user.user_id, anime_id)

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
        """List continue watching. What is begun and not ended, last watched first: without anime whose last episode is
        finished, and without those that were completed or dropped in the library after they were last watched.
        """
        return page_response(request, await self.reader.to_continue(request.user.user_id, page_request))

    @delete("/continue/{anime_id:str}", guards=WRITES)
    async def hide_from_continue_watching(
        self, request: ViewerRequest, anime_id: FromPath[UUID], watch_progress: NamedDependency[WatchProgressService]
    ) -> None:
        """Hide an anime from continue watching. Its progress stays. It reappears when it is played again."""
        await watch_progress.hide(request.user.user_id, anime_id)
