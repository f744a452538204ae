"""The paths under /views."""

from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.views import NewView, View, ViewReader, ViewRecorder, ViewService
from kitsu.errors import NotFound
from kitsu.web.guards import requires
from kitsu.web.openapi import errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response
from kitsu.web.preconditions import IdempotencyKey, idempotent_request
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service


class ViewController(Controller):
    """A viewer's history."""

    path = "/views"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    dependencies = {"views": service(ViewService)}  # noqa: RUF012 - Litestar's way to declare
    reader: ViewReader
    recorder: ViewRecorder

    @get(
        "/",
        summary="List one's history",
        response_description="A part of the history.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
    )
    async def list_views(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
    ) -> Response[list[View | Tombstone]]:
        """The episodes that the caller saw, last viewed first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @post(
        "/",
        guards=[requires("write:content")],
        summary="Store that one sees an episode",
        response_description="The view as it is now.",
        responses=errors(NotFound),
    )
    async def post_view(
        self,
        request: ViewerRequest,
        data: JSONBody[NewView],
        idempotency_key: IdempotencyKey = None,
    ) -> View:
        """One for each episode: a later one takes its place."""
        return await self.recorder.post(request.user.user_id, data, idempotent_request(idempotency_key, request, data))

    @delete(
        "/",
        guards=[requires("write:content")],
        summary="Empty one's history",
        response_description="The history is empty.",
    )
    async def clear_views(self, request: ViewerRequest, views: NamedDependency[ViewService]) -> None:
        """All of the caller's views go."""
        await views.clear(request.user.user_id)

    @delete(
        "/{view_id:str}",
        guards=[requires("write:content")],
        summary="Take one episode out of one's history",
        response_description="It is gone.",
        responses=errors(NotFound),
    )
    async def remove_view(
        self, request: ViewerRequest, view_id: FromPath[UUID], views: NamedDependency[ViewService]
    ) -> None:
        """One view of the caller's."""
        await views.remove(request.user.user_id, view_id)
