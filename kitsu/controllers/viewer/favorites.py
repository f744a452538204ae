"""The paths under /favorites."""

from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.viewer.favorites import Favorite, FavoriteReader, FavoriteService
from kitsu.errors import Conflict, NotFound
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, list_response
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Favorites = NamedDependency[FavoriteService]


class NewFavorite(msgspec.Struct):
    """The anime to add."""

    anime_id: UUID


class FavoriteController(Controller):
    path = "/favorites"
    tags = ["Viewer"]
    dependencies = {"favorites": service(FavoriteService)}
    reader: FavoriteReader

    @get("/", dependencies=LISTS, response_headers=CHANGES_HEADERS)
    async def list_favorites(
        self, request: ViewerRequest, list_request: NamedDependency[ListRequest]
    ) -> Response[list[Favorite | Tombstone]]:
        """List favourites. Newest first."""
        return list_response(request, await self.reader.read(request.user.user_id, list_request))

    @post("/", guards=WRITES, responses=errors(NotFound, Conflict))
    async def add_favorite(self, request: ViewerRequest, data: JSONBody[NewFavorite], favorites: Favorites) -> Favorite:
        """Add a favourite."""
        return await favorites.add(request.user.user_id, data.anime_id)

    @delete("/{anime_id:str}", guards=WRITES)
    async def remove_favorite(self, request: ViewerRequest, anime_id: FromPath[UUID], favorites: Favorites) -> None:
        """Remove a favourite. Takes the id of the anime, or the favourite's own. It need not exist."""
        await favorites.remove(request.user.user_id, anime_id)
