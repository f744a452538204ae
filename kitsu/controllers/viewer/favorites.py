"""The paths under /favorites."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.changes import ChangesRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.favorites import Favorite, FavoriteService
from kitsu.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthorized
from kitsu.web.authentication import LOGIN_REQUIRED, requires
from kitsu.web.openapi import BEARER, errors
from kitsu.web.pagination import CHANGES_HEADERS, LISTS, answer, changes_response


class NewFavorite(msgspec.Struct):
    """The anime to add."""

    anime_id: UUID


class FavoriteController(Controller):
    """A viewer's favourites."""

    path = "/favorites"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER

    @get(
        "/",
        opt=LOGIN_REQUIRED,
        operation_id="listFavorites",
        summary="List one's favourites",
        response_description="A part of the favourites.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
    )
    async def list_favorites(
        self,
        request: Request[Any, Any, Any],
        favorites: NamedDependency[FavoriteService],
        identity: NamedDependency[Identity],
        page_request: NamedDependency[PageRequest],
        since: NamedDependency[ChangesRequest | None],
    ) -> Response[list[Favorite | Tombstone]]:
        """The caller's favourites, newest first."""
        if since is not None:
            return changes_response(request, await favorites.changes(identity.user_id, since))
        return answer(request, await favorites.page(identity.user_id, page_request))

    @post(
        "/",
        opt=requires("write:content"),
        operation_id="addFavorite",
        summary="Add a favourite",
        response_description="The new favourite.",
        responses=errors(Unauthorized, Forbidden, NotFound, Conflict, InvalidRequest),
    )
    async def add_favorite(
        self,
        data: JSONBody[NewFavorite],
        favorites: NamedDependency[FavoriteService],
        identity: NamedDependency[Identity],
    ) -> Favorite:
        """One that was removed can be added again."""
        return await favorites.add(identity.user_id, data.anime_id)

    @delete(
        "/{anime_id:str}",
        opt=requires("write:content"),
        operation_id="removeFavorite",
        summary="Remove a favourite",
        response_description="It is none, or was none before.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def remove_favorite(
        self,
        anime_id: FromPath[UUID],
        favorites: NamedDependency[FavoriteService],
        identity: NamedDependency[Identity],
    ) -> None:
        """No error when it was none."""
        await favorites.remove(identity.user_id, anime_id)
