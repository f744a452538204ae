"""Collections: anime that a viewer put together under a name, in an order of theirs, for themselves or for all."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import BigInteger, Integer, Uuid, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem
from kitsu.domain.changes import ChangesListing
from kitsu.domain.mapping import Rows, columns_of, given, mapper
from kitsu.domain.pagination import Listing, Page, PageRequest, ascending, descending
from kitsu.domain.versions import Expected
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.lists import OwnListReader
from kitsu.errors import Forbidden, NotFound

Name = Annotated[str, Meta(min_length=1, max_length=255, examples=["Rainy days"])]
Description = Annotated[str, Meta(max_length=10_000)]


class Collection(msgspec.Struct):
    """A named list of anime."""

    id: UUID
    name: str
    description: str | None
    is_public: Annotated[bool, Meta(description="whether everybody may see it")]
    item_count: int
    version: Annotated[
        int, Meta(description='one more with each change, of its anime too; `If-Match: "<id>.<version>"`')
    ]
    created_at: datetime
    updated_at: datetime


class CollectionItem(AnimeListItem):
    """An anime in a collection."""

    added_at: datetime


class NewCollection(msgspec.Struct, frozen=True):
    """A collection to be made."""

    name: Name
    description: Description | None = None
    is_public: bool = False


class CollectionChange(msgspec.Struct, frozen=True):
    """What changes of a collection; what is left out stays."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    is_public: bool | UnsetType = UNSET


_collection, _item, _anime = models.Collection, models.CollectionItem, models.Anime
_user_id: Any = bindparam("user_id", type_=Uuid)
_collection_id: Any = bindparam("collection_id", type_=Uuid)
_anime_id: Any = bindparam("anime_id", type_=Uuid)
_offset: Any = bindparam("offset", type_=BigInteger)

_item_count = select(func.count()).where(_item.collection_id == _collection.id).scalar_subquery()
_ALL: Rows = select(*columns_of(Collection, _collection, item_count=_item_count))
_is_own = _collection.user_id == _user_id
ROWS = _ALL.where(_is_own)
_is_public = _collection.is_public.is_(True)
_newest = (descending(_collection.created_at), descending(_collection.id))
_counted = select(_collection.id)
_PUBLIC = Listing(Collection, _ALL.where(_is_public), *_newest, counted=_counted.where(_is_public))

_is_visible = (_collection.id == _collection_id, or_(_is_public, _is_own))
_ONE = _ALL.where(*_is_visible)
_VISIBLE = select(_collection.id).where(*_is_visible)
_ITEMS = Listing(
    CollectionItem,
    select(*LIST_COLUMNS, _item.added_at)
    .join(_item, _item.anime_id == _anime.id)
    .where(_item.collection_id == _collection_id),
    ascending(_item.position),
    ascending(_item.anime_id),
    counted=select(_item.anime_id).where(_item.collection_id == _collection_id),
)

_others = select(_item.position).where(_item.collection_id == _collection_id, _item.anime_id != _anime_id)
_last = select(func.coalesce(func.max(_item.position) + 1, 0)).where(_item.collection_id == _collection_id)
_APPEND = (
    insert(_item)
    .from_select(["collection_id", "anime_id", "position"], select(_collection_id, _anime_id, _last.scalar_subquery()))
    .on_conflict_do_nothing()
    .returning(_item.anime_id)
)
_AT = select(
    func.coalesce(
        _others.order_by(_item.position, _item.anime_id).offset(_offset).limit(1).scalar_subquery(),
        _last.scalar_subquery(),
    )
)
_MAKE_ROOM = (
    update(_item)
    .where(_item.collection_id == bindparam("shifted", type_=Uuid), _item.position >= bindparam("place", type_=Integer))
    .values(position=_item.position + 1)
)
_placed = insert(_item).values(
    collection_id=_collection_id, anime_id=_anime_id, position=bindparam("place", type_=Integer)
)
_PLACE = _placed.on_conflict_do_update(
    index_elements=[_item.collection_id, _item.anime_id], set_={"position": _placed.excluded.position}
)
_TAKE_OUT = delete(_item).where(_item.collection_id == _collection_id, _item.anime_id == _anime_id)


_STORED = _ALL.where(_collection.id == _collection_id)
_stored_collection_of = mapper(Collection, _STORED)


class CollectionReader(OwnListReader[Collection]):
    """Reads collections, newest first, for their owners and for those who may see them."""

    listing = Listing(Collection, ROWS, *_newest, counted=_counted.where(_is_own))
    changes = ChangesListing(Collection, ROWS, _collection.updated_at, _collection.id)

    async def public(self, request: PageRequest) -> Page[Collection]:
        """Return a page of the public collections."""
        return await _PUBLIC.page(self.runner, {}, request)

    async def detail(self, viewer: UUID | None, collection_id: UUID) -> Collection:
        """Return a public collection, or one of the viewer's own. Raises NotFound."""
        row = await self.runner.row(_ONE, {"collection_id": collection_id, "user_id": viewer})
        if row is None:
            raise NotFound("Collection not found")
        return self.listing.struct_of(row)

    async def items(self, viewer: UUID | None, collection_id: UUID, request: PageRequest) -> Page[CollectionItem]:
        """Return the anime of a public collection, or of one's own, in its owner's order. Raises NotFound."""
        if await self.runner.value(_VISIBLE, {"collection_id": collection_id, "user_id": viewer}) is None:
            raise NotFound("Collection not found")
        return await _ITEMS.page(self.runner, {"collection_id": collection_id}, request)


class CollectionService(SQLAlchemyAsyncRepositoryService[models.Collection]):
    """Changes collections and their anime."""

    class Repository(SQLAlchemyAsyncRepository[models.Collection]):
        """Collections in the database."""

        model_type = models.Collection

    repository_type = Repository

    async def add(self, user_id: UUID, new: NewCollection) -> Collection:
        """Make a collection."""
        with viewer_constraints():
            row = await self.create(
                models.Collection(user_id=user_id, **msgspec.structs.asdict(new)), auto_refresh=False
            )
        return await self._committed(row.id)

    async def change(
        self, user_id: UUID, collection_id: UUID, change: CollectionChange, expected: Expected | None
    ) -> Collection:
        """Change one's own collection. Raises NotFound, Forbidden, PreconditionFailed."""
        collection = await self._own(user_id, collection_id, expected)
        for name, value in given(change).items():
            setattr(collection, name, value)
        _touch(collection)
        return await self._committed(collection_id)

    async def remove(self, user_id: UUID, collection_id: UUID) -> None:
        """Delete one's own collection. Raises NotFound, Forbidden."""
        await self._own(user_id, collection_id)
        await self.delete(collection_id, auto_commit=True)

    async def put_item(
        self, user_id: UUID, collection_id: UUID, anime_id: UUID, position: int | None, expected: Expected | None
    ) -> None:
        """Put an anime into one's own collection: at a position from 0 on, else where it is, or at the end.

        Raises NotFound, Forbidden, PreconditionFailed.
        """
        collection = await self._own(user_id, collection_id, expected)
        session = self.repository.session
        which = {"collection_id": collection_id, "anime_id": anime_id}
        with viewer_constraints():
            if position is None:
                is_new = (await execute_core(session, _APPEND, which)).first() is not None
            else:
                is_new = True
                place = await session.scalar(_AT, {**which, "offset": position})
                await execute_core(session, _MAKE_ROOM, {"shifted": collection_id, "place": place})
                await execute_core(session, _PLACE, {**which, "place": place})
        if is_new:
            _touch(collection)
        await session.commit()

    async def take_out(self, user_id: UUID, collection_id: UUID, anime_id: UUID) -> None:
        """Take an anime out of one's own collection, if it is in it. Raises NotFound, Forbidden."""
        await self._own(user_id, collection_id)
        session = self.repository.session
        # A trigger changes the collection's version when a row is deleted, here or by a deleted anime.
        await execute_core(session, _TAKE_OUT, {"collection_id": collection_id, "anime_id": anime_id})
        await session.commit()

    async def _own(self, user_id: UUID, collection_id: UUID, expected: Expected | None = None) -> models.Collection:
        """Return one's own collection, locked. Raises Forbidden for another user's public one, NotFound for others."""
        collection = await self.get_one_or_none(id=collection_id, with_for_update=True)
        if collection is None or (collection.user_id != user_id and not collection.is_public):
            raise NotFound("Collection not found")
        if collection.user_id != user_id:
            raise Forbidden
        if expected is not None:
            expected.check(collection.id, collection.version)
        return collection

    async def _committed(self, collection_id: UUID) -> Collection:
        """Commit, and return the collection as it is then."""
        session = self.repository.session
        await session.flush()
        row = (await execute_core(session, _STORED, {"collection_id": collection_id})).one()
        await session.commit()
        return _stored_collection_of(row)


def _touch(collection: models.Collection) -> None:
    collection.version += 1
    collection.updated_at = func.now()
