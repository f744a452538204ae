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
from kitsu.errors import Forbidden, InvalidRequest, NotFound, PreconditionFailed, Unauthorized
from kitsu.web.authentication import GUESTS, requires
from kitsu.web.openapi import BEARER, OPTIONAL_BEARER, errors
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
        security=OPTIONAL_BEARER,
        operation_id="listCollections",
        summary="List collections",
        response_description="A part of the collections.",
        dependencies=LISTS,
        response_headers=CHANGES_HEADERS,
        responses=errors(Unauthorized, InvalidRequest),
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
        security=BEARER,
        operation_id="addCollection",
        summary="Make a collection",
        response_description="The new collection.",
        response_headers=[ETAG],
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def add_collection(
        self, request: ViewerRequest, data: JSONBody[NewCollection], collections: NamedDependency[CollectionService]
    ) -> Response[Collection]:
        """An empty one, for oneself unless `is_public` says otherwise."""
        return _tagged(await collections.add(request.user.user_id, data))

    @get(
        "/{collection_id:str}",
        opt=GUESTS,
        security=OPTIONAL_BEARER,
        operation_id="getCollection",
        summary="Get one collection",
        response_description="The collection.",
        response_headers=[ETAG],
        responses=errors(Unauthorized, NotFound, InvalidRequest),
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
        security=BEARER,
        operation_id="changeCollection",
        summary="Change a collection",
        response_description="The collection as it is now.",
        dependencies={"expected": Provide(provide_expected, sync_to_thread=False)},
        response_headers=[ETAG],
        responses=errors(Unauthorized, Forbidden, NotFound, PreconditionFailed, InvalidRequest),
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
        security=BEARER,
        operation_id="removeCollection",
        summary="Delete a collection",
        response_description="It is gone.",
        responses=errors(Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def remove_collection(
        self, request: ViewerRequest, collection_id: FromPath[UUID], collections: NamedDependency[CollectionService]
    ) -> None:
        """Its owner alone may."""
        await collections.remove(request.user.user_id, collection_id)

    @get(
        "/{collection_id:str}/anime",
        opt=GUESTS,
        security=OPTIONAL_BEARER,
        operation_id="listCollectionAnime",
        summary="List the anime of a collection",
        response_description="A part of the collection.",
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(Unauthorized, NotFound, InvalidRequest),
    )
    async def list_items(
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
        security=BEARER,
        operation_id="putCollectionAnime",
        summary="Put an anime into a collection",
        response_description="It is in it, or was before.",
        dependencies={"expected": Provide(provide_expected, sync_to_thread=False)},
        responses=errors(Unauthorized, Forbidden, NotFound, PreconditionFailed, InvalidRequest),
    )
    async def put_item(
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
        security=BEARER,
        operation_id="removeCollectionAnime",
        summary="Take an anime out of a collection",
        response_description="It is not in it, or was not before.",
        responses=errors(Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def remove_item(
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
