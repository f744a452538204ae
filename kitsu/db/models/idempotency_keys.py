"""Answers that were given to requests with an `Idempotency-Key`, for when the same request comes again."""

from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import ForeignKey, Index, LargeBinary, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt


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
