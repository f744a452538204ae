"""A view: an episode in a user's history."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, ForeignKey, Index, String, UniqueConstraint, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id, UserRef


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
