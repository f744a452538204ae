"""The tables of what a viewer keeps: favourites, progress, views, collections and the library."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CreatedAt, Id, UserRef


class Favorite(DefaultBase):
    """An anime on a user's list of favourites. A row never changes; one that was removed is in `tombstones`."""

    __tablename__ = "favorites"
    __table_args__ = (UniqueConstraint("user_id", "anime_id", name="uq_favorites_user_id"),)

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    anime_id: Mapped[AnimeRef]
    created_at: Mapped[CreatedAt]


Index("ix_favorites_newest", Favorite.user_id, Favorite.created_at.desc(), Favorite.id.desc())


class WatchProgress(DefaultBase):
    """The place where a user stopped, one for each anime."""

    __tablename__ = "watch_progress"
    __table_args__ = (UniqueConstraint("user_id", "anime_id", name="uq_watch_progress_user_id"),)

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    anime_id: Mapped[AnimeRef]
    episode: Mapped[int]
    position_seconds: Mapped[int | None]
    progress_percent: Mapped[float | None]
    created_at: Mapped[CreatedAt]
    last_watched_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[CreatedAt]
    """Of any change, by watching or otherwise."""
    hidden: Mapped[bool] = mapped_column(server_default="false")
    """Left out of "continue watching" until it is played again."""


Index("ix_watch_progress_newest", WatchProgress.user_id, WatchProgress.last_watched_at.desc(), WatchProgress.id.desc())


class View(DefaultBase):
    """That a user saw an episode, and how far; one for each episode."""

    __tablename__ = "views"
    __table_args__ = (UniqueConstraint("user_id", "episode_id", name="uq_views_user_id"),)

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    episode_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("episodes.id", ondelete="CASCADE"), index=True)
    progress: Mapped[int]
    """Seconds."""
    device: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[CreatedAt]
    last_viewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


Index("ix_views_newest", View.user_id, View.last_viewed_at.desc(), View.id.desc())


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


class LibraryEntry(DefaultBase):
    """An anime on a user's list, with what lists of other sites say of it."""

    __tablename__ = "library_entries"
    __table_args__ = (
        UniqueConstraint("user_id", "anime_id", name="uq_library_entries_user_id"),
        CheckConstraint(
            "status IN ('watching', 'completed', 'on_hold', 'dropped', 'plan_to_watch')", name="library_status"
        ),
        CheckConstraint("score BETWEEN 1 AND 10", name="library_score"),
    )

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    anime_id: Mapped[AnimeRef]
    status: Mapped[str] = mapped_column(String(16))
    score: Mapped[int | None] = mapped_column(SmallInteger)
    notes: Mapped[str | None] = mapped_column(Text)
    episodes_watched: Mapped[int] = mapped_column(server_default="0")
    started_on: Mapped[str | None] = mapped_column(String(10))
    """`YYYY`, `YYYY-MM` or `YYYY-MM-DD`: as much of the date as is known."""
    completed_on: Mapped[str | None] = mapped_column(String(10))
    times_rewatched: Mapped[int] = mapped_column(server_default="0")
    is_rewatching: Mapped[bool] = mapped_column(server_default="false")
    tags: Mapped[str | None] = mapped_column(Text)
    """Comma-separated, as MyAnimeList has them."""
    version: Mapped[int] = mapped_column(server_default="1")
    """One more with each change."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


Index("ix_library_entries_newest", LibraryEntry.user_id, LibraryEntry.updated_at.desc(), LibraryEntry.id.desc())


TOMBSTONE_DAYS = 30


class Tombstone(DefaultBase):
    """That a row is gone; its contents are."""

    __tablename__ = "tombstones"

    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True)
    """Of the row that is gone."""
    user_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    """The name of its table."""
    anime_id: Mapped[UUID | None] = mapped_column(Uuid())
    deleted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


Index("ix_tombstones_changes", Tombstone.user_id, Tombstone.kind, Tombstone.deleted_at, Tombstone.id)
Index("ix_tombstones_deleted_at", Tombstone.deleted_at)


class IdempotencyKey(DefaultBase):
    """A request that was done once, and its answer."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """A hash of what the client sent as the key, and of what it asked for."""
    request: Mapped[bytes] = mapped_column(LargeBinary)
    """A hash of the body: the same key with another one is a mistake."""
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    """JSON."""
    created_at: Mapped[CreatedAt]


Index("ix_idempotency_keys_created_at", IdempotencyKey.created_at)
