"""A user: who signs in."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import Boolean, CheckConstraint, Index, String, func, true
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
