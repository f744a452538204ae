"""The paths under /collections."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.changes import ListRequest, Tombstone
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.collections import (
    Collection,
    CollectionChange,
    CollectionItem,
    CollectionOrder,
    CollectionReader,
    CollectionService,
    NewCollection,
)
from kitsu.errors import Conflict, NotFound, PreconditionFailed, Unauthorized
from kitsu.web.authentication import GUESTS
from kitsu.web.guards import WRITES
from kitsu.web.openapi import errors, query
from kitsu.web.pagination import CHANGES_HEADERS, LIST_HEADERS, LISTS, PAGES, list_response, page_response
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged
from kitsu.web.request import GuestRequest, ViewerRequest
from kitsu.web.services import service

Collections = NamedDependency[CollectionService]


MAX_ORDER_BYTES = 1 << 20  # of 26,000 anime


class CollectionController(Controller):
    path = "/collections"
    tags = ["Viewer"]
    dependencies = {"collections": service(CollectionService)}
    reader: CollectionReader

    @get("/", opt=GUESTS, dependencies=LISTS, response_headers=CHANGES_HEADERS)
    async def list_collections(
        self, request: GuestRequest, list_request: NamedDependency[ListRequest]
    ) -> Response[list[Collection | Tombstone]]:
        """List collections. The user's own, for guests the public ones; newest first. Changes are listed only of the
        user's own.
        """
        if request.user is not None:
            return list_response(request, await self.reader.read(request.user.user_id, list_request))
        if list_request.changes is not None:
            raise Unauthorized
        return page_response(request, await self.reader.public(list_request.page))

    @post("/", guards=WRITES, response_headers=[ETAG], responses=errors(Conflict))
    async def add_collection(
        self, request: ViewerRequest, data: JSONBody[NewCollection], collections: Collections
    ) -> Response[Collection]:
        """Create a collection. It is empty, and private unless `is_public` is true."""
        return tagged(await collections.add(request.user.user_id, data))

    @get("/{collection_id:str}", opt=GUESTS, response_headers=[ETAG], responses=errors(NotFound))
    async def get_collection(self, request: GuestRequest, collection_id: FromPath[UUID]) -> Response[Collection]:
        """Get a collection. One of the user's own, or a public one."""
        viewer_id = request.user.user_id if request.user else None
        return tagged(await self.reader.detail(viewer_id, collection_id))

    @patch(
        "/{collection_id:str}",
        guards=WRITES,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=errors(NotFound, PreconditionFailed),
    )
    async def change_collection(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        data: JSONBody[CollectionChange],
        expected: IfMatch,
        collections: Collections,
    ) -> Response[Collection]:
        """Update a collection. Omitted fields keep their value. Only its owner may update it."""
        return tagged(await collections.change(request.user.user_id, collection_id, data, expected))

    @delete(
        "/{collection_id:str}", guards=WRITES, dependencies=EXPECTED, responses=errors(NotFound, PreconditionFailed)
    )
    async def remove_collection(
        self, request: ViewerRequest, collection_id: FromPath[UUID], expected: IfMatch, collections: Collections
    ) -> None:
        """Delete a collection. Only its owner may delete it."""
        await collections.remove(request.user.user_id, collection_id, expected)

    @get(
        "/{collection_id:str}/anime",
        opt=GUESTS,
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(NotFound),
    )
    async def list_collection_anime(
        self, request: GuestRequest, collection_id: FromPath[UUID], page_request: NamedDependency[PageRequest]
    ) -> Response[list[CollectionItem]]:
        """List the anime of a collection. In the order of its owner."""
        viewer_id = request.user.user_id if request.user else None
        return page_response(request, await self.reader.items(viewer_id, collection_id, page_request))

    @put(
        "/{collection_id:str}/anime/{anime_id:str}",
        status_code=204,
        guards=WRITES,
        dependencies=EXPECTED,
        responses=errors(NotFound, PreconditionFailed, Conflict),
    )
    async def put_collection_anime(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        anime_id: FromPath[UUID],
        expected: IfMatch,
        collections: Collections,
        position: Annotated[int | None, query("The place of the anime, from 0.", 0, ge=0, le=2**31 - 1)] = None,
    ) -> None:
        """Add an anime to a collection. Without a position a new anime is added at the end, and one that is in the
        collection stays where it is. Only the owner may do so.
        """
        await collections.put_item(request.user.user_id, collection_id, anime_id, position, expected)

    @put(
        "/{collection_id:str}/order",
        guards=WRITES,
        dependencies=EXPECTED,
        request_max_body_size=MAX_ORDER_BYTES,
        response_headers=[ETAG],
        responses=errors(NotFound, PreconditionFailed),
    )
    async def order_collection(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        data: JSONBody[CollectionOrder],
        expected: IfMatch,
        collections: Collections,
    ) -> Response[Collection]:
        """Sort a collection. Takes all its anime in the new order. Only its owner may do so."""
        viewer_id = request.user.user_id
        return tagged(await collections.put_in_order(viewer_id, collection_id, data.anime_ids, expected))

    @delete(
        "/{collection_id:str}/anime/{anime_id:str}",
        guards=WRITES,
        dependencies=EXPECTED,
        responses=errors(NotFound, PreconditionFailed),
    )
    async def remove_collection_anime(
        self,
        request: ViewerRequest,
        collection_id: FromPath[UUID],
        anime_id: FromPath[UUID],
        expected: IfMatch,
        collections: Collections,
    ) -> None:
        """Remove an anime from a collection. It is not an error if the collection does not contain it. Only the owner
        may do so.
        """
        await collections.take_out(request.user.user_id, collection_id, anime_id, expected)
