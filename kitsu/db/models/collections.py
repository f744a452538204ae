"""A collection: anime that a user put together, in an order of theirs."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, ForeignKey, Index, String, Text, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CreatedAt, Id, UserRef


class Collection(DefaultBase):
    """A named list of anime, its owner's alone or for everybody to see."""

    __tablename__ = "collections"

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    is_public: Mapped[bool] = mapped_column(server_default="false")
    version: Mapped[int] = mapped_column(server_default="1")
    """One more with each change of it or of its items."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


Index("ix_collections_newest", Collection.user_id, Collection.created_at.desc(), Collection.id.desc())
Index(
    "ix_collections_public",
    Collection.created_at.desc(),
    Collection.id.desc(),
    postgresql_where=Collection.is_public.is_(True),
)


class CollectionItem(DefaultBase):
    """An anime in a collection."""

    __tablename__ = "collection_items"

    collection_id: Mapped[UUID] = mapped_column(
        Uuid(), ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    anime_id: Mapped[AnimeRef] = mapped_column(primary_key=True)
    position: Mapped[int]
    """Grows along the owner's order, with gaps."""
    added_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


Index("ix_collection_items_position", CollectionItem.collection_id, CollectionItem.position)
