"""The paths under /views."""

from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.views import NewView, View, ViewReader, ViewRecorder, ViewService
from kitsu.errors import BadRequest, Conflict, NotFound
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response
from kitsu.web.preconditions import IDEMPOTENT, idempotent_request
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Views = NamedDependency[ViewService]


class ViewController(Controller):
    path = "/views"
    tags = ["Viewer"]
    dependencies = {"views": service(ViewService)}
    reader: ViewReader
    recorder: ViewRecorder

    @get("/", dependencies=LISTS, response_headers=CHANGES_HEADERS)
    async def list_views(
        self, request: ViewerRequest, list_request: NamedDependency[ListRequest]
    ) -> Response[list[View | Tombstone]]:
        """List views. The episodes that the user watched, each once, last viewed first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @post("/", guards=WRITES, opt=IDEMPOTENT, responses=errors(BadRequest, NotFound, Conflict))
    async def post_view(self, request: ViewerRequest, data: JSONBody[NewView]) -> View:
        """Mark an episode as watched. There is one view per episode; an older one changes no newer one."""
        return await self.recorder.record(request.user.user_id, data, idempotent_request(request, data))

    @delete("/", guards=WRITES)
    async def clear_views(self, request: ViewerRequest, views: Views) -> None:
        """Remove all views."""
        await views.clear(request.user.user_id)

    @delete("/{view_id:str}", guards=WRITES, responses=errors(NotFound))
    async def remove_view(self, request: ViewerRequest, view_id: FromPath[UUID], views: Views) -> None:
        """Remove a view."""
        await views.remove(request.user.user_id, view_id)
