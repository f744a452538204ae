"""A release: an edition of an anime that has episodes."""

from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import ForeignKey, Index, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id


class Release(DefaultBase):
    """An edition of an anime."""

    __tablename__ = "releases"

    id: Mapped[Id]
    anime_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(255))
    year: Mapped[int | None]
    status: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]


Index("ix_releases_created_at", Release.created_at.desc(), Release.id.desc())
