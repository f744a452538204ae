"""An episode of a release."""

from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import ForeignKey, Index, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id


class Episode(DefaultBase):
    """An episode of a release."""

    __tablename__ = "episodes"

    id: Mapped[Id]
    release_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("releases.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[CreatedAt]


Index("ix_episodes_release_id", Episode.release_id, Episode.number, Episode.id)
