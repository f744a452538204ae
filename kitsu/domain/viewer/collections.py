"""Collections: named lists of anime in an order of the viewer's, private or public."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, UnsetType
from sqlalchemy import ARRAY, Uuid, and_, bindparam, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.domain.accounts.deactivation import IS_VISIBLE
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, current_id
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import VISIBLE, Version, described
from kitsu.domain.mapping import Rows, columns_of, given
from kitsu.domain.pagination import Listing, Page, PageRequest, ascending, descending
from kitsu.domain.versions import AlreadyThere, Expected
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.limits import ViewerLimits
from kitsu.domain.viewer.rows import USER_ID, OwnListReader, newest_first
from kitsu.errors import Conflict, Forbidden, InvalidRequest, NotFound

Name = Annotated[str, described("The name.", "Rainy days", min_length=1, max_length=255, pattern=VISIBLE)]
Description = Annotated[str, described("A text about the collection.", "Best with tea", max_length=10_000)]
IsPublic = Annotated[bool, described("Whether other users and guests may see it.")]


MAX_NAMED = 20  # ids in an error


class Collection(msgspec.Struct):
    """A named list of anime."""

    id: UUID
    name: Annotated[str, described("The name.", "Rainy days")]
    description: Annotated[str | None, described("A text about the collection.", "Best with tea")]
    is_public: IsPublic
    item_count: Annotated[int, described("The number of anime in it.", 12)]
    version: Version
    created_at: Annotated[datetime, described("When it was created.")]
    updated_at: Annotated[datetime, described("When it was last changed.")]


class CollectionItem(AnimeListItem):
    """An anime in a collection."""

    added_at: Annotated[datetime, described("When the anime was added to the collection.")]


class NewCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection to create."""

    name: Name
    description: Description | None = None
    is_public: IsPublic = False


class CollectionChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a collection. Omitted fields keep their value."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    is_public: IsPublic | UnsetType = UNSET


class CollectionOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The anime of a collection in a new order."""

    anime_ids: Annotated[
        list[UUID], described("All anime of the collection, each once.", ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])
    ]


_collection, _item, _anime = models.Collection, models.CollectionItem, models.Anime
_collection_id: Any = bindparam("collection_id", type_=Uuid)

_is_item = and_(_item.user_id == _collection.user_id, _item.collection_id == _collection.id)
_item_count = select(func.count()).where(_is_item).scalar_subquery()
_ALL: Rows = select(*columns_of(Collection, _collection, item_count=_item_count))
_is_own = _collection.user_id == USER_ID
ROWS = _ALL.where(_is_own)
_NUMBER = select(func.count()).select_from(_collection).where(_is_own)
_ITEM_NUMBER = select(func.count()).select_from(_item).join(_collection, _is_item)
_ITEM_NUMBER = _ITEM_NUMBER.where(_is_own)
# Users are joined beside the query with the count: Citus has them on another server than the items.
PUBLIC_ROWS = _ALL.add_columns(_collection.user_id).where(_collection.is_public.is_(True)).cte("shown")
_LISTED: Rows = select(*columns_of(Collection, PUBLIC_ROWS.c)).join(
    models.User, models.User.id == PUBLIC_ROWS.c.user_id
)
_LISTED = _LISTED.where(IS_VISIBLE)
_PUBLIC = Listing(
    Collection,
    _LISTED,
    descending(PUBLIC_ROWS.c.created_at),
    descending(PUBLIC_ROWS.c.id),
    counted=_LISTED.with_only_columns(PUBLIC_ROWS.c.id),
)
_is_one = _collection.id == _collection_id
_ONE = ROWS.where(_is_one)
_OWNER = (
    select(_collection.user_id)
    .join(models.User, models.User.id == _collection.user_id)
    .where(_is_one, or_(and_(_collection.is_public.is_(True), IS_VISIBLE), _is_own))
)
_owner = _OWNER.cte("owner")
_VISIBLE = _ALL.join(_owner, _owner.c.user_id == _collection.user_id).where(_is_one)
_is_inside = and_(_item.user_id == bindparam("owner", type_=Uuid), _item.collection_id == _collection_id)
_ITEMS = Listing(
    CollectionItem,
    select(*LIST_COLUMNS, _item.added_at).join(_item, _item.anime_id == _anime.id).where(_is_inside),
    ascending(_item.position),
    ascending(_item.anime_id),
    counted=select(_item.anime_id).where(_is_inside),
)


class CollectionReader(OwnListReader[Collection]):
    listing = newest_first(Collection, ROWS, _collection.created_at)
    changes = ChangesListing(Collection, ROWS, _collection.updated_at)

    async def public(self, request: PageRequest) -> Page[Collection]:
        return await _PUBLIC.page(self.runner, {}, request)

    async def detail(self, viewer: UUID | None, collection_id: UUID) -> Collection:
        """Return a public collection, or one of the viewer's own. Raises NotFound."""
        row = await self.runner.row(_VISIBLE, {"collection_id": collection_id, "user_id": viewer})
        if row is None:
            raise NotFound("Collection not found")
        return self.listing.struct_of(row)

    async def items(self, viewer: UUID | None, collection_id: UUID, request: PageRequest) -> Page[CollectionItem]:
        """Return a page of the anime of a collection that `detail` returns, in its owner's order. Raises NotFound."""
        owner = await self.runner.value(_OWNER, {"collection_id": collection_id, "user_id": viewer})
        if owner is None:
            raise NotFound("Collection not found")
        return await _ITEMS.page(self.runner, {"owner": owner, "collection_id": collection_id}, request)


class CollectionService(SQLAlchemyAsyncRepositoryService[models.Collection]):
    class Repository(SQLAlchemyAsyncRepository[models.Collection]):
        model_type = models.Collection

    repository_type = Repository

    def __init__(self, session: AsyncSession, *, limits: ViewerLimits) -> None:
        super().__init__(session)
        self._limits = limits

    async def add(self, user_id: UUID, new: NewCollection) -> Collection:
        """Create a collection. Raises Conflict for one more than a user may have."""
        with viewer_constraints():
            row = await self.create(_collection(user_id=user_id, **msgspec.structs.asdict(new)), auto_refresh=False)
        await self._check_limit(_NUMBER, user_id, self._limits.collections, "collections")
        return await self._committed(user_id, row.id)

    async def change(
        self, user_id: UUID, collection_id: UUID, change: CollectionChange, expected: Expected | None
    ) -> Collection:
        """Update a viewer's own collection. Raises NotFound, Forbidden, PreconditionFailed."""
        collection = await self._own(user_id, collection_id, expected)
        for name, value in given(change).items():
            setattr(collection, name, value)
        touch(collection)
        return await self._committed(user_id, collection_id)

    async def remove(self, user_id: UUID, collection_id: UUID, expected: Expected | None) -> None:
        """Delete a viewer's own collection. Raises NotFound, Forbidden, PreconditionFailed."""
        collection = await self._own(user_id, collection_id, expected)
        session = self.repository.session
        await session.delete(collection)
        await session.commit()

    async def put_item(
        self, user_id: UUID, collection_id: UUID, anime_id: UUID, position: int | None, expected: Expected | None
    ) -> None:
        """Put an anime into a viewer's own collection, by default where it is or at the end. Raises as `change`.

        Raises Conflict for one more than a user may have in all collections.
        """
        collection = await self._own(user_id, collection_id, expected and expected.of_parent())
        session = self.repository.session
        wanted = await session.scalar(select(_anime.id).where(_anime.id == current_id(anime_id)))
        if wanted is None:
            raise NotFound("Anime not found")
        inside = (_item.user_id == user_id, _item.collection_id == collection_id)
        end = select(func.coalesce(func.max(_item.position) + 1, 0)).where(*inside).scalar_subquery()
        is_inside = select(_item.anime_id).where(*inside, _item.anime_id == wanted).exists()
        place, is_old = (await session.execute(select(end, is_inside))).one()
        if expected is not None and expected.is_new and is_old:
            raise AlreadyThere
        if is_old and position is None:
            await session.commit()
            return
        if position is not None:
            others = select(_item.position).where(*inside, _item.anime_id != wanted)
            other = await session.scalar(others.order_by(_item.position, _item.anime_id).offset(position).limit(1))
            place = place if other is None else other
            behind = update(_item).where(*inside, _item.position >= place)
            await session.execute(behind.values(position=_item.position + 1))
        if is_old:
            await session.execute(update(_item).where(*inside, _item.anime_id == wanted).values(position=place))
        else:
            with viewer_constraints():
                new = insert(_item).values(
                    user_id=user_id, collection_id=collection_id, anime_id=wanted, position=place
                )
                await session.execute(new)
            await self._check_limit(_ITEM_NUMBER, user_id, self._limits.collection_anime, "anime in collections")
        touch(collection)
        await session.commit()

    async def put_in_order(
        self, user_id: UUID, collection_id: UUID, anime_ids: list[UUID], expected: Expected | None
    ) -> Collection:
        """Sort the anime of a viewer's own collection. Raises as `change`, and InvalidRequest for other anime."""
        collection = await self._own(user_id, collection_id, expected)
        session = self.repository.session
        is_inside = (_item.user_id == user_id, _item.collection_id == collection_id)
        inside = select(_item.anime_id).where(*is_inside).order_by(_item.position)
        if wrong := _differences((await session.scalars(inside)).all(), anime_ids):
            raise InvalidRequest(wrong)
        places = (
            func.unnest(literal(anime_ids, ARRAY(Uuid)))
            .table_valued("anime_id", with_ordinality="place")
            .render_derived()
        )
        to_place = update(_item).where(*is_inside, _item.anime_id == places.c.anime_id)
        await session.execute(to_place.values(position=places.c.place - 1))
        touch(collection)
        return await self._committed(user_id, collection_id)

    async def take_out(self, user_id: UUID, collection_id: UUID, anime_id: UUID, expected: Expected | None) -> None:
        """Remove an anime from a viewer's own collection, if it is in it. Raises as `remove`."""
        await self._own(user_id, collection_id, expected and expected.of_parent())
        session = self.repository.session
        # A trigger changes the collection's version when a row is deleted, here or with its anime.
        inside = (_item.user_id == user_id, _item.collection_id == collection_id)
        await session.execute(delete(_item).where(*inside, _item.anime_id == current_id(anime_id)))
        await session.commit()

    async def _own(self, user_id: UUID, collection_id: UUID, expected: Expected | None = None) -> models.Collection:
        """Return a viewer's own collection, locked. Another user's raises Forbidden if it is public, else NotFound."""
        collection = await self.get_one_or_none(user_id=user_id, id=collection_id, with_for_update=True)
        if collection is None:
            parameters = {"collection_id": collection_id, "user_id": user_id}
            if await self.repository.session.scalar(_OWNER, parameters) is None:
                raise NotFound("Collection not found")
            raise Forbidden
        if expected is not None:
            expected.check(collection)
        return collection

    async def _check_limit(self, number: Any, user_id: UUID, most: int, what: str) -> None:
        """Raise Conflict if the user has more rows than allowed, with the one that was just added."""
        session = self.repository.session
        # Until the commit, since a request that adds another row has to count this one.
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"collections {user_id}", 0))))
        if (await execute_core(session, number, {"user_id": user_id})).scalar_one() > most:
            raise Conflict(f"An account may have {most:,} {what}: remove some before you add others")

    async def _committed(self, user_id: UUID, collection_id: UUID) -> Collection:
        """Commit, and return the collection with what the database has set."""
        session = self.repository.session
        row = (await session.execute(_ONE, {"user_id": user_id, "collection_id": collection_id})).one()
        await session.commit()
        return CollectionReader.listing.struct_of(row)


def touch(collection: models.Collection) -> None:
    collection.version += 1
    collection.updated_at = func.now()


def _differences(inside: Sequence[UUID], sent: Sequence[UUID]) -> list[dict[str, str]]:
    """Return what keeps a new order from having each anime of a collection once, as details of an error."""
    times, known = Counter(sent), {*inside}
    wrong = {
        "Missing": [each for each in inside if each not in times],
        "Not in the collection": [each for each in times if each not in known],
        "More than once": [each for each in times if times[each] > 1],
    }
    return [{"field": "anime_ids", "message": f"{what}: {_named(ids)}"} for what, ids in wrong.items() if ids]


def _named(ids: Sequence[UUID]) -> str:
    rest = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(map(str, ids[:MAX_NAMED])) + rest
