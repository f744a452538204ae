"""The paths under /views."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.changes import ChangesRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.views import NewView, View, ViewService
from kitsu.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from kitsu.web.authentication import LOGIN_REQUIRED, requires
from kitsu.web.openapi import BEARER, errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, answer, changes_response
from kitsu.web.preconditions import IdempotencyKey, idempotent_request


class ViewController(Controller):
    """A viewer's history."""

    path = "/views"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER

    @get(
        "/",
        opt=LOGIN_REQUIRED,
        operation_id="listViews",
        summary="List one's history",
        response_description="A part of the history.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_views(
        self,
        request: Request[Any, Any, Any],
        views: NamedDependency[ViewService],
        identity: NamedDependency[Identity],
        page_request: NamedDependency[PageRequest],
        since: NamedDependency[ChangesRequest | None],
    ) -> Response[list[View | Tombstone]]:
        """The episodes that the caller saw, last viewed first."""
        if since is not None:
            return changes_response(request, await views.changes(identity.user_id, since))
        return answer(request, await views.page(identity.user_id, page_request))

    @post(
        "/",
        opt=requires("write:content"),
        operation_id="postView",
        summary="Store that one sees an episode",
        response_description="The view as it is now.",
        responses=errors(Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def post_view(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[NewView],
        views: NamedDependency[ViewService],
        identity: NamedDependency[Identity],
        idempotency_key: IdempotencyKey = None,
    ) -> View:
        """One for each episode: a later one takes its place."""
        return await views.post(identity.user_id, data, idempotent_request(idempotency_key, request, data))

    @delete(
        "/",
        opt=requires("write:content"),
        operation_id="clearViews",
        summary="Empty one's history",
        response_description="The history is empty.",
        responses=errors(Unauthorized, Forbidden),
    )
    async def clear_views(self, views: NamedDependency[ViewService], identity: NamedDependency[Identity]) -> None:
        """All of the caller's views go."""
        await views.clear(identity.user_id)

    @delete(
        "/{view_id:str}",
        opt=requires("write:content"),
        operation_id="removeView",
        summary="Take one episode out of one's history",
        response_description="It is gone.",
        responses=errors(Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def remove_view(
        self, view_id: FromPath[UUID], views: NamedDependency[ViewService], identity: NamedDependency[Identity]
    ) -> None:
        """One view of the caller's."""
        await views.remove(identity.user_id, view_id)
