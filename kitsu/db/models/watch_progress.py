"""Watch progress: how far a user is in an anime."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CreatedAt, Id, UserRef


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


Index(
    "ix_watch_progress_newest",
    WatchProgress.user_id,
    WatchProgress.last_watched_at.desc(),
    WatchProgress.id.desc(),
)
