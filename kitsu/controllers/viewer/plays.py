"""The paths under /history."""

from uuid import UUID

from litestar import Controller, Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.plays import Play, PlayReader, PlayService
from kitsu.errors import NotFound
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Plays = NamedDependency[PlayService]


class PlayController(Controller):
    path = "/history"
    tags = ["Viewer"]
    dependencies = {"plays": service(PlayService)}
    reader: PlayReader

    @get("/", dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_plays(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[Play]]:
        """List plays. One for each time that the user watched an episode to its end, newest first. Watch progress and
        views record them.
        """
        return page_response(request, await self.reader.page(request.user.user_id, page_request))

    @delete("/", guards=WRITES)
    async def clear_plays(self, request: ViewerRequest, plays: Plays) -> None:
        """Remove all plays. The library and the watch progress stay."""
        await plays.clear(request.user.user_id)

    @delete("/{play_id:str}", guards=WRITES, responses=errors(NotFound))
    async def remove_play(self, request: ViewerRequest, play_id: FromPath[UUID], plays: Plays) -> None:
        """Remove a play. The library and the watch progress stay."""
        await plays.remove(request.user.user_id, play_id)
