"""A session: one signed-in device; and its refresh tokens, one a generation."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, ForeignKey, Index, String, Text, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id

_Time = DateTime(timezone=True)


class AuthSession(DefaultBase):
    """A device that is, or was, signed in."""

    __tablename__ = "auth_sessions"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int] = mapped_column(server_default="1")
    """Of its newest refresh token."""
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[datetime] = mapped_column(_Time, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(_Time)
    revoked_at: Mapped[datetime | None] = mapped_column(_Time)
    revoke_reason: Mapped[str | None] = mapped_column(String(16))
    """`logout`, `ended`, `password`, `reuse` or `account`."""
    user_agent: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[str | None] = mapped_column(String(45))


Index("ix_auth_sessions_expires_at", AuthSession.expires_at)


class RefreshToken(DefaultBase):
    """A refresh token, of which only the SHA-256 is stored; it is used once."""

    __tablename__ = "refresh_tokens"

    session_id: Mapped[UUID] = mapped_column(
        Uuid(), ForeignKey("auth_sessions.id", ondelete="CASCADE"), primary_key=True
    )
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    issued_at: Mapped[datetime] = mapped_column(_Time, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(_Time)
    used_at: Mapped[datetime | None] = mapped_column(_Time)
