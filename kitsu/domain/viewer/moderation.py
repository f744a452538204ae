"""Public collections, as administrators see and hide them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.admin_log import log_action
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.domain.viewer.collections import PUBLIC_ROWS, CollectionService, touch
from kitsu.errors import NotFound

log = structlog.get_logger("kitsu.security")


class PublicCollection(msgspec.Struct):
    """A public collection with its owner."""

    id: UUID
    name: str
    description: str | None
    item_count: int
    owner: str
    owner_id: UUID
    created_at: datetime


_collection: Any = models.Collection
_PUBLIC: Rows = select(
    *columns_of(PublicCollection, PUBLIC_ROWS.c, owner=models.User.username, owner_id=models.User.id)
).join(models.User, models.User.id == PUBLIC_ROWS.c.user_id)
_LISTING = Listing(
    PublicCollection,
    _PUBLIC,
    descending(PUBLIC_ROWS.c.created_at),
    descending(PUBLIC_ROWS.c.id),
    counted=select(_collection.id).where(_collection.is_public.is_(True)),
)


class PublicCollectionReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, request: PageRequest) -> Page[PublicCollection]:
        """Return the public collections, newest first."""
        return await _LISTING.page(self._runner, {}, request)


class ModerationService(CollectionService):
    """Hides collections of viewers."""

    async def hide(self, collection_id: UUID, *, by: UUID) -> None:
        """Make a public collection private. Raises NotFound if it is not public."""
        session = self.repository.session
        owner = await session.scalar(select(_collection.user_id).where(_collection.id == collection_id))
        collection = await self.get_one_or_none(user_id=owner, id=collection_id, with_for_update=True)
        if collection is None or not collection.is_public:
            raise NotFound("Public collection not found")
        collection.is_public = False
        touch(collection)
        await log_action(session, by, "collection hidden", collection.name, collection.user_id, id=str(collection_id))
        await session.commit()
        log.info("collection hidden", user_id=str(collection.user_id))
