"""The paths under /favorites."""

from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.favorites import Favorite, FavoriteReader, FavoriteService
from kitsu.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthorized
from kitsu.web.authentication import requires
from kitsu.web.openapi import BEARER, errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service


class NewFavorite(msgspec.Struct):
    """The anime to add."""

    anime_id: UUID


class FavoriteController(Controller):
    """A viewer's favourites."""

    path = "/favorites"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER
    dependencies = {"favorites": service(FavoriteService)}  # noqa: RUF012 - Litestar's way to declare
    reader: FavoriteReader

    @get(
        "/",
        operation_id="listFavorites",
        summary="List one's favourites",
        response_description="A part of the favourites.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_favorites(
        self,
        request: ViewerRequest,
        list_request: NamedDependency[ListRequest],
    ) -> Response[list[Favorite | Tombstone]]:
        """The caller's favourites, newest first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @post(
        "/",
        guards=[requires("write:content")],
        operation_id="addFavorite",
        summary="Add a favourite",
        response_description="The new favourite.",
        responses=errors(Unauthorized, Forbidden, NotFound, Conflict, InvalidRequest),
    )
    async def add_favorite(
        self, request: ViewerRequest, data: JSONBody[NewFavorite], favorites: NamedDependency[FavoriteService]
    ) -> Favorite:
        """One that was removed can be added again."""
        return await favorites.add(request.user.user_id, data.anime_id)

    @delete(
        "/{anime_id:str}",
        guards=[requires("write:content")],
        operation_id="removeFavorite",
        summary="Remove a favourite",
        response_description="It is none, or was none before.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def remove_favorite(
        self, request: ViewerRequest, anime_id: FromPath[UUID], favorites: NamedDependency[FavoriteService]
    ) -> None:
        """No error when it was none."""
        await favorites.remove(request.user.user_id, anime_id)
