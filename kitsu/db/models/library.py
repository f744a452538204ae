"""The library: the anime that a user follows, each with a status."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, Index, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CreatedAt, Id, UserRef


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


Index(
    "ix_library_entries_newest",
    LibraryEntry.user_id,
    LibraryEntry.updated_at.desc(),
    LibraryEntry.id.desc(),
)
