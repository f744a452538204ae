"""What was deleted of a user's own rows, for devices that were not there. Written by triggers, whoever deletes."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, ForeignKey, Index, String, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

KEPT_DAYS = 30


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
