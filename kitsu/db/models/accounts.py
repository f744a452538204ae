"""The tables of accounts: users, their sessions and refresh tokens, and the counters of rate limits."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    Uuid,
    func,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id


class User(DefaultBase):
    """An account."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('user', 'admin')", name="role"),)

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(255), unique=True)
    """As it was given; one account per e-mail whatever its case, see `uq_users_email_lower`."""
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=true())
    created_at: Mapped[CreatedAt]
    avatar: Mapped[str | None] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(16), server_default="user")


Index("uq_users_email_lower", func.lower(User.email), unique=True)
Index("uq_users_username_lower", func.lower(User.username), unique=True)
Index("ix_users_avatar", User.avatar, postgresql_where=User.avatar.is_not(None))
Index("ix_users_created_at", User.created_at.desc(), User.id.desc())


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


class RateLimit(DefaultBase):
    """A counter of one window, which begins with the first hit."""

    __tablename__ = "rate_limits"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """A hash of what is counted: no address and no e-mail stands here."""
    hits: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


Index("ix_rate_limits_ends_at", RateLimit.ends_at)
