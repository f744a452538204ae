"""Collections: anime that a viewer put together under a name, in an order of theirs, for themselves or for all."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import BigInteger, Integer, Uuid, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem
from kitsu.domain.changes import Changes, ChangesReader, ChangesRequest, changes_statement
from kitsu.domain.constraints import translate_foreign_key_errors
from kitsu.domain.pagination import Listing, Page, PageRequest, Rows, ascending, descending
from kitsu.domain.versions import Expected
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


class Repository(SQLAlchemyAsyncRepository[models.Collection]):
    """Collections in the database."""

    model_type = models.Collection


class CollectionRows(SQLAlchemyAsyncRepositoryService[models.Collection, Repository]):
    """Collections, in the transaction of a session."""

    repository_type = Repository


_collection, _item, _anime = models.Collection, models.CollectionItem, models.Anime
_user_id: Any = bindparam("user_id", type_=Uuid)
_collection_id: Any = bindparam("collection_id", type_=Uuid)
_anime_id: Any = bindparam("anime_id", type_=Uuid)
_offset: Any = bindparam("offset", type_=BigInteger)

_item_count = select(func.count()).where(_item.collection_id == _collection.id).scalar_subquery()
_ALL: Rows = select(
    *(_item_count if name == "item_count" else getattr(_collection, name) for name in Collection.__struct_fields__)
)
_is_own = _collection.user_id == _user_id
OWN = _ALL.where(_is_own)
_is_public = _collection.is_public.is_(True)
_newest = (descending(_collection.created_at), descending(_collection.id))
_counted = select(_collection.id)
_OWN_LISTING = Listing(OWN, *_newest, counted=_counted.where(_is_own))
_PUBLIC_LISTING = Listing(_ALL.where(_is_public), *_newest, counted=_counted.where(_is_public))
_CHANGES = changes_statement(OWN, _collection.updated_at, _collection.id)

_to_be_seen = (_collection.id == _collection_id, or_(_is_public, _is_own))
_ONE = _ALL.where(*_to_be_seen)
_IS_TO_BE_SEEN = select(_collection.id).where(*_to_be_seen)
_ITEMS = Listing(
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


class CollectionService:
    """Collections, for their owners and for whoever may look at them."""

    def __init__(self, engine: AsyncEngine, runner: StatementRunner) -> None:
        self._runner = runner
        self._transactions = async_sessionmaker(engine, expire_on_commit=False)
        self._changes = ChangesReader(runner)

    async def page(self, viewer: UUID | None, request: PageRequest) -> Page[Collection]:
        """The viewer's own collections, for a guest the public ones; newest first."""
        if viewer is None:
            return await _PUBLIC_LISTING.page(self._runner, {}, request, _collection_of)
        return await _OWN_LISTING.page(self._runner, {"user_id": viewer}, request, _collection_of)

    async def changes(self, user_id: UUID, request: ChangesRequest) -> Changes[Collection]:
        """What changed and was removed of one's own since a time."""
        return await self._changes.read(user_id, request, _collection.__tablename__, _CHANGES, _collection_of)

    async def detail(self, viewer: UUID | None, collection_id: UUID) -> Collection:
        """A public collection, or one's own. Raises NotFound."""
        row = await self._runner.row(_ONE, {"collection_id": collection_id, "user_id": viewer})
        if row is None:
            raise NotFound("Collection not found")
        return Collection(*row)

    async def items(self, viewer: UUID | None, collection_id: UUID, request: PageRequest) -> Page[CollectionItem]:
        """The anime of a public collection, or of one's own, in its owner's order. Raises NotFound."""
        which = {"collection_id": collection_id, "user_id": viewer}
        if await self._runner.value(_IS_TO_BE_SEEN, which) is None:
            raise NotFound("Collection not found")
        parameters = {"collection_id": collection_id}
        return await _ITEMS.page(self._runner, parameters, request, lambda row: CollectionItem(*row))

    async def add(self, user_id: UUID, new: NewCollection) -> Collection:
        """Make a collection."""
        async with self._transactions.begin() as session:
            with translate_foreign_key_errors():
                made = await CollectionRows(session=session).create(
                    models.Collection(user_id=user_id, **msgspec.structs.asdict(new)), auto_refresh=False
                )
        return await self.detail(user_id, made.id)

    async def change(
        self, user_id: UUID, collection_id: UUID, change: CollectionChange, expected: Expected | None
    ) -> Collection:
        """Change one's own collection. Raises NotFound, Forbidden, PreconditionFailed."""
        values = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
        async with self._transactions.begin() as session:
            collection = await _own(session, user_id, collection_id, expected)
            for name, value in values.items():
                setattr(collection, name, value)
            _touch(collection)
        return await self.detail(user_id, collection_id)

    async def remove(self, user_id: UUID, collection_id: UUID) -> None:
        """Delete one's own collection. Raises NotFound, Forbidden."""
        async with self._transactions.begin() as session:
            await session.delete(await _own(session, user_id, collection_id, None))

    async def put_item(
        self, user_id: UUID, collection_id: UUID, anime_id: UUID, position: int | None, expected: Expected | None
    ) -> None:
        """Have an anime in one's own collection: at a position from 0 on, else where it is, or at the end.

        Raises NotFound, Forbidden, PreconditionFailed.
        """
        which = {"collection_id": collection_id, "anime_id": anime_id}
        async with self._transactions.begin() as session:
            collection = await _own(session, user_id, collection_id, expected)
            connection = await session.connection()
            with translate_foreign_key_errors():
                if position is None:
                    if (await connection.execute(_APPEND, which)).first() is None:
                        return
                else:
                    place = await connection.scalar(_AT, {**which, "offset": position})
                    await connection.execute(_MAKE_ROOM, {"shifted": collection_id, "place": place})
                    await connection.execute(_PLACE, {**which, "place": place})
            _touch(collection)

    async def take_out(self, user_id: UUID, collection_id: UUID, anime_id: UUID) -> None:
        """Take an anime out of one's own collection, if it is in it. Raises NotFound, Forbidden."""
        async with self._transactions.begin() as session:
            await _own(session, user_id, collection_id, None)
            connection = await session.connection()
            await connection.execute(
                _TAKE_OUT, {"collection_id": collection_id, "anime_id": anime_id}
            )  # a trigger tells


def _collection_of(row: Sequence[Any]) -> Collection:
    return Collection(*row)


async def _own(
    session: AsyncSession, user_id: UUID, collection_id: UUID, expected: Expected | None
) -> models.Collection:
    """One's own collection, locked. Raises Forbidden for somebody else's public one, whose private ones are unknown."""
    collection = await session.get(models.Collection, collection_id, with_for_update=True)
    if collection is None or (collection.user_id != user_id and not collection.is_public):
        raise NotFound("Collection not found")
    if collection.user_id != user_id:
        raise Forbidden
    if expected is not None:
        expected.check(collection.id, collection.version)
    return collection


def _touch(collection: models.Collection) -> None:
    collection.version += 1
    collection.updated_at = func.now()
