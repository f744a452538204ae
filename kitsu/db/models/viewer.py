"""The tables of viewers: favourites, watch progress, views, plays, collections, the library and what sync needs.

The imports of lists into the library are here too.
"""

from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CurrentTimestamp, Entity, Id, Timestamp, UserEntity, UserRef, UserRow

TOMBSTONE_DAYS = 30  # how long `tombstones` keeps a row


class Favorite(UserRow):
    __tablename__ = "favorites"
    __table_args__ = (PrimaryKeyConstraint("user_id", "anime_id", name="uq_favorites_user_id"),)

    anime_id: Mapped[AnimeRef]
    updated_at: Mapped[CurrentTimestamp]  # later than `created_at` where a merge moved it to another anime


class WatchProgress(UserRow):
    """How far a user has watched an anime."""

    __tablename__ = "watch_progress"
    __table_args__ = (PrimaryKeyConstraint("user_id", "anime_id", name="uq_watch_progress_user_id"),)

    anime_id: Mapped[AnimeRef]
    episode: Mapped[int]
    position_seconds: Mapped[int | None]
    progress_percent: Mapped[float | None]
    last_watched_at: Mapped[CurrentTimestamp]
    updated_at: Mapped[CurrentTimestamp]  # time of any change, by watching or otherwise
    hidden: Mapped[bool] = mapped_column(server_default="false")
    """Not listed under "continue watching" until the anime is watched again."""


class View(UserRow):
    """How far a user has watched an episode."""

    __tablename__ = "views"
    __table_args__ = (PrimaryKeyConstraint("user_id", "episode_id", name="uq_views_user_id"),)

    episode_id: Mapped[UUID] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), index=True)
    progress: Mapped[int]  # seconds
    device: Mapped[str | None] = mapped_column(String(128))
    last_viewed_at: Mapped[CurrentTimestamp]
    updated_at: Mapped[CurrentTimestamp]  # later than `last_viewed_at` where a report came late


class Play(UserEntity):
    """An episode that a user watched to its end, each time."""

    __tablename__ = "plays"

    anime_id: Mapped[UUID] = mapped_column(ForeignKey("anime.id", ondelete="CASCADE"))
    episode: Mapped[int]
    watched_at: Mapped[Timestamp]


class PlayCount(DefaultBase):
    """The number of plays of a user, since counting them takes long. A trigger subtracts deleted ones."""

    __tablename__ = "play_counts"
    __table_args__ = (CheckConstraint("plays <= most", name="most"),)

    user_id: Mapped[UserRef] = mapped_column(primary_key=True)
    plays: Mapped[int]
    most: Mapped[int]
    """The setting MAX_PLAYS, when the last one was added."""


class Collection(UserEntity):
    __tablename__ = "collections"

    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    is_public: Mapped[bool] = mapped_column(server_default="false")
    version: Mapped[int] = mapped_column(server_default="1")  # incremented with each change of it or of its items
    updated_at: Mapped[CurrentTimestamp]


class CollectionItem(DefaultBase):
    __tablename__ = "collection_items"
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "collection_id"],
            ["collections.user_id", "collections.id"],
            name="fk_collection_items_user_id_collections",
            ondelete="CASCADE",
        ),
        PrimaryKeyConstraint("collection_id", "anime_id", postgresql_include=["user_id"]),
    )

    user_id: Mapped[Id]
    collection_id: Mapped[Id]
    anime_id: Mapped[AnimeRef]
    position: Mapped[int]  # the owner's order, with gaps
    added_at: Mapped[CurrentTimestamp]


class LibraryEntry(UserRow):
    __tablename__ = "library_entries"
    __table_args__ = (
        PrimaryKeyConstraint("user_id", "anime_id", name="uq_library_entries_user_id"),
        CheckConstraint(
            "status IN ('watching', 'completed', 'on_hold', 'dropped', 'plan_to_watch')", name="library_status"
        ),
        CheckConstraint("score BETWEEN 1 AND 10", name="library_score"),
    )

    anime_id: Mapped[AnimeRef]
    status: Mapped[str] = mapped_column(String(16))
    status_set_at: Mapped[CurrentTimestamp]
    """When the user last chose the status, or to rewatch. Reports of a player that are older do not change it."""
    score: Mapped[float | None]
    notes: Mapped[str | None] = mapped_column(Text)
    episodes_watched: Mapped[int] = mapped_column(server_default="0")
    episodes_set_at: Mapped[Timestamp | None]
    """When the user last entered the number. Reports of a player that are older do not raise it."""
    started_on: Mapped[str | None] = mapped_column(String(10))
    """`YYYY`, `YYYY-MM` or `YYYY-MM-DD`, for a date that is known in part."""
    completed_on: Mapped[str | None] = mapped_column(String(10))
    times_rewatched: Mapped[int] = mapped_column(server_default="0")
    is_rewatching: Mapped[bool] = mapped_column(server_default="false")
    tags: Mapped[str | None] = mapped_column(Text)  # comma-separated, as on MyAnimeList
    version: Mapped[int] = mapped_column(server_default="1")
    updated_at: Mapped[CurrentTimestamp]


class LibraryImport(Entity):
    """An import of a list into the library, by a request or by a job."""

    __tablename__ = "library_imports"
    __table_args__ = (CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),)

    user_id: Mapped[UserRef]
    policy: Mapped[str] = mapped_column(String(16))
    dry_run: Mapped[bool]
    format: Mapped[str | None] = mapped_column(String(8))
    """Of the file `not_imported`: xml, csv or json."""
    size: Mapped[int]  # of the uploaded file, in bytes
    state: Mapped[str] = mapped_column(String(16))
    rows_total: Mapped[int | None]  # unknown until the file is read
    rows_done: Mapped[int] = mapped_column(server_default="0")
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[Timestamp | None]


class LibraryImportChunk(DefaultBase):
    """A piece of a file of an import."""

    __tablename__ = "library_import_chunks"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("library_imports.id", ondelete="CASCADE"), primary_key=True)
    file: Mapped[str] = mapped_column(String(16), primary_key=True)
    """`upload` until a job has imported it, `rows` (what became of each row) or `not_imported`."""
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Tombstone(DefaultBase):
    """A deleted row, without its contents."""

    __tablename__ = "tombstones"

    user_id: Mapped[UserRef] = mapped_column(primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)  # that of the deleted row
    kind: Mapped[str] = mapped_column(String(32))  # the name of its table
    anime_id: Mapped[Id | None]
    deleted_at: Mapped[CurrentTimestamp]


class IdempotencyKey(DefaultBase):
    """A request that was handled once, with its response."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UserRef] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # a hash of the client's key and the path
    request: Mapped[bytes] = mapped_column(LargeBinary)
    """A hash of the body: the same key with another body is an error."""
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)  # the response, in JSON
    created_at: Mapped[CurrentTimestamp]


Index("ix_favorites_newest", Favorite.user_id, Favorite.created_at.desc(), Favorite.id.desc())
Index("ix_favorites_changes", Favorite.user_id, Favorite.updated_at, Favorite.id)
Index("ix_watch_progress_newest", WatchProgress.user_id, WatchProgress.last_watched_at.desc(), WatchProgress.id.desc())
Index("ix_views_newest", View.user_id, View.last_viewed_at.desc(), View.id.desc())
Index("ix_views_changes", View.user_id, View.updated_at, View.id)
Index("ix_plays_newest", Play.user_id, Play.watched_at.desc(), Play.id.desc())
Index("ix_plays_episode", Play.anime_id, Play.user_id, Play.episode, Play.watched_at)
_newest = (Collection.created_at.desc(), Collection.id.desc())
Index("ix_collections_id", Collection.id)
Index("ix_collections_newest", Collection.user_id, *_newest)
Index("ix_collections_public", *_newest, postgresql_where=Collection.is_public.is_(True))
Index("ix_collection_items_position", CollectionItem.collection_id, CollectionItem.position)
Index("ix_library_entries_newest", LibraryEntry.user_id, LibraryEntry.updated_at.desc(), LibraryEntry.id.desc())
Index("ix_library_imports_newest", LibraryImport.user_id, LibraryImport.created_at.desc(), LibraryImport.id.desc())
Index("ix_library_imports_created_at", LibraryImport.created_at)
Index(
    "uq_library_imports_unfinished",
    LibraryImport.user_id,
    unique=True,
    postgresql_where=LibraryImport.finished_at.is_(None),
)
Index("ix_tombstones_changes", Tombstone.user_id, Tombstone.kind, Tombstone.deleted_at, Tombstone.id)
Index("ix_tombstones_deleted_at", Tombstone.deleted_at)
Index("ix_idempotency_keys_created_at", IdempotencyKey.created_at)
