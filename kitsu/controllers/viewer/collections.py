"""The paths under /collections."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from kitsu.domain.accounts.sessions import Identity
from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.versions import Expected
from kitsu.domain.viewer.collections import (
    Collection,
    CollectionChange,
    CollectionItem,
    CollectionReader,
    CollectionService,
    NewCollection,
)
from kitsu.errors import NotFound, PreconditionFailed, Unauthorized
from kitsu.web.authentication import GUESTS
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
from kitsu.web.preconditions import ETAG, provide_expected, tagged
from kitsu.web.request import GuestRequest, ViewerRequest
from kitsu.web.services import service

MAX_POSITION = 2**31 - 1


class CollectionController(Controller):
    """Collections of anime."""

    path = "/collections"
    tags = ["Viewer"]  # noqa: RUF012 - Litestar's way to declare
    dependencies = {"collections": service(CollectionService)}  # noqa: RUF012 - Litestar's way to declare
    reader: CollectionReader

    @get(
        "/",
        opt=GUESTS,
        summary="List collections",
        response_description="A part of the collections.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
    )
    async def list_collections(
        self,
        request: GuestRequest,
        list_request: NamedDependency[ListRequest],
    ) -> Response[list[Collection | Tombstone]]:
        """The caller's own, for a guest the public ones; newest first. What changed is listed of one's own alone."""
        if request.user is not None:
            return list_response(request, await self.reader.read(request.user.user_id, list_request))
        if list_request.changes is not None:
            raise Unauthorized
        return page_response(request, await self.reader.public(list_request.page))

    @post(
        "/",
        guards=[requires("write:content")],
        summary="Make a collection",
        response_description="The new collection.",
        response_headers=[ETAG],
    )
    async def add_collection(
        self, request: ViewerRequest, data: JSONBody[NewCollection], collections: NamedDependency[CollectionService]
    ) -> Response[Collection]:
        """An empty one, for oneself unless `is_public` says otherwise."""
        return _tagged(await collections.add(request.user.user_id, data))

    @get(
        "/{collection_id:str}",
        opt=GUESTS,
        summary="Get one collection",
        response_description="The collection.",
        response_headers=[ETAG],
        responses=errors(NotFound),
    )
    async def get_collection(
        self,
        request: GuestRequest,
        collection_id: FromPath[UUID],
    ) -> Response[Collection]:
        """One's own, or a public one."""
        return _tagged(await self.reader.detail(_id_of(request.user), collection_id))

    @patch(
        "/{collection_id:str}",
        guards=[requires("write:content")],
        summary="Change a collection",
        response_description="The collection as it is now.",
        dependencies={"expected": Provide(provide_expected, sync_to_thread=False)},
        response_headers=[ETAG],
        responses=errors(NotFound, PreconditionFailed),
    )
    async def change_collection(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        data: JSONBody[CollectionChange],
        expected: NamedDependency[Expected | None],
        collections: NamedDependency[CollectionService],
    ) -> Response[Collection]:
        """What is left out stays. Its owner alone may."""
        return _tagged(await collections.change(request.user.user_id, collection_id, data, expected))

    @delete(
        "/{collection_id:str}",
        guards=[requires("write:content")],
        summary="Delete a collection",
        response_description="It is gone.",
        responses=errors(NotFound),
    )
    async def remove_collection(
        self, request: ViewerRequest, collection_id: FromPath[UUID], collections: NamedDependency[CollectionService]
    ) -> None:
        """Its owner alone may."""
        await collections.remove(request.user.user_id, collection_id)

    @get(
        "/{collection_id:str}/anime",
        opt=GUESTS,
        summary="List the anime of a collection",
        response_description="A part of the collection.",
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(NotFound),
    )
    async def list_collection_anime(
        self,
        request: GuestRequest,
        collection_id: FromPath[UUID],
        page_request: NamedDependency[PageRequest],
    ) -> Response[list[CollectionItem]]:
        """Of one's own or a public one, in its owner's order."""
        return page_response(request, await self.reader.items(_id_of(request.user), collection_id, page_request))

    @put(
        "/{collection_id:str}/anime/{anime_id:str}",
        status_code=204,
        guards=[requires("write:content")],
        summary="Put an anime into a collection",
        response_description="It is in it, or was before.",
        dependencies={"expected": Provide(provide_expected, sync_to_thread=False)},
        responses=errors(NotFound, PreconditionFailed),
    )
    async def put_collection_anime(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        anime_id: FromPath[UUID],
        expected: NamedDependency[Expected | None],
        collections: NamedDependency[CollectionService],
        position: Annotated[
            int | None,
            QueryParameter(
                ge=0, le=MAX_POSITION, description="its place, the first is 0; left out: where it is, or the end"
            ),
        ] = None,
    ) -> None:
        """Its owner alone may."""
        await collections.put_item(request.user.user_id, collection_id, anime_id, position, expected)

    @delete(
        "/{collection_id:str}/anime/{anime_id:str}",
        guards=[requires("write:content")],
        summary="Take an anime out of a collection",
        response_description="It is not in it, or was not before.",
        responses=errors(NotFound),
    )
    async def remove_collection_anime(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        anime_id: FromPath[UUID],
        collections: NamedDependency[CollectionService],
    ) -> None:
        """Its owner alone may."""
        await collections.take_out(request.user.user_id, collection_id, anime_id)


def _id_of(viewer: Identity | None) -> UUID | None:
    return None if viewer is None else viewer.user_id


def _tagged(collection: Collection) -> Response[Collection]:
    return tagged(collection, collection.id, collection.version)
