"""The tables of accounts: users, their sessions and refresh tokens, and the counters of rate limits."""

from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    false,
    func,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CurrentTimestamp, Entity, Id, Timestamp, UserEntity


class User(Entity):
    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('user', 'editor', 'admin')", name="role"),)

    email: Mapped[str] = mapped_column(String(255), unique=True)
    """In the user's spelling; `uq_users_email_lower` makes it unique whatever the case."""
    email_verified_at: Mapped[Timestamp | None]
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    avatar: Mapped[str | None] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(16), server_default="user")
    timezone: Mapped[str] = mapped_column(String(64), server_default="UTC")
    """An IANA name. The days of the library are days there."""
    is_public: Mapped[bool] = mapped_column(server_default=false())
    """Whether everyone may see the profile and the library."""
    second_factor_since: Mapped[Timestamp | None]
    """Since when a login needs a second factor: as long as the user has TOTP."""
    deletion_at: Mapped[Timestamp | None]
    """When a job deletes the account, which its owner deactivated; null for all others."""
    deletion_reminded_at: Mapped[Timestamp | None]

    @property
    def has_second_factor(self) -> bool:
        return self.second_factor_since is not None

    @property
    def email_verified(self) -> bool:
        return self.email_verified_at is not None


class AuthSession(UserEntity):
    """A sign-in on a device, active or ended."""

    __tablename__ = "auth_sessions"

    generation: Mapped[int] = mapped_column(server_default="1")  # that of the newest refresh token
    last_used_at: Mapped[CurrentTimestamp]
    expires_at: Mapped[Timestamp]
    revoked_at: Mapped[Timestamp | None]
    revoke_reason: Mapped[str | None] = mapped_column(String(16))
    """`logout`, `ended`, `password`, `reuse`, `account` or `limit`."""
    user_agent: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[str | None] = mapped_column(String(45))


class RefreshToken(DefaultBase):
    """A refresh token, which is used once. Only its SHA-256 is stored."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "session_id"],
            ["auth_sessions.user_id", "auth_sessions.id"],
            name="fk_refresh_tokens_user_id_auth_sessions",
            ondelete="CASCADE",
        ),
    )

    user_id: Mapped[Id] = mapped_column(primary_key=True)
    session_id: Mapped[Id] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_hash: Mapped[str] = mapped_column(String(64), index=True)
    issued_at: Mapped[CurrentTimestamp]
    expires_at: Mapped[Timestamp]
    used_at: Mapped[Timestamp | None]


class AccountToken(Entity):
    """A token that a mail carries, for one purpose. It is used once; only its SHA-256 is stored."""

    __tablename__ = "account_tokens"

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """Null for an invitation."""
    purpose: Mapped[str] = mapped_column(String(32))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(255))
    """The address that it is bound to."""
    state_hash: Mapped[str | None] = mapped_column(String(64))
    """The SHA-256 of what must not have changed since: the stored password, or the address."""
    expires_at: Mapped[Timestamp] = mapped_column(index=True)
    used_at: Mapped[Timestamp | None]


class RateLimit(DefaultBase):
    """The counter of a rate limit, in a window that begins with the first hit."""

    __tablename__ = "rate_limits"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """A hash, so that no address and no e-mail is stored."""
    hits: Mapped[int]
    ends_at: Mapped[Timestamp]


class LoginCounter(DefaultBase):
    """The failed and the unfinished logins of an e-mail from a network, of a network, or of an e-mail."""

    __tablename__ = "login_counters"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """A hash, so that no address and no e-mail is stored."""
    failures: Mapped[int] = mapped_column(server_default="0")
    """In the window. Of a network it is the number of e-mails with failures."""
    unfinished: Mapped[int] = mapped_column(server_default="0")
    """Attempts whose password is being checked."""
    waits_until: Mapped[Timestamp | None]
    """When this network may try this e-mail, which others have tried too often."""
    ends_at: Mapped[Timestamp]
    """When the window ends, which begins with the first attempt."""


Index("uq_users_email_lower", func.lower(User.email), unique=True)
Index("uq_users_username_lower", func.lower(User.username), unique=True)
# For the search by the beginning, in the order of bytes: `~>=~` and `~<~`.
for _column in (User.email, User.username):
    _start = func.lower(_column).label("start")
    Index(f"ix_users_{_column.key}_start", _start, postgresql_ops={"start": "text_pattern_ops"})
Index("ix_users_avatar", User.avatar, postgresql_where=User.avatar.is_not(None))
Index("ix_users_created_at", User.created_at.desc(), User.id.desc())
Index("ix_users_deletion_at", User.deletion_at, postgresql_where=User.deletion_at.is_not(None))
Index(
    "ix_account_tokens_reserved",
    func.lower(AccountToken.email),
    postgresql_where=(AccountToken.purpose == "revert-email") & AccountToken.used_at.is_(None),
)
Index("ix_auth_sessions_id", AuthSession.id)
Index("ix_auth_sessions_expires_at", AuthSession.expires_at)
Index("ix_rate_limits_ends_at", RateLimit.ends_at)
Index("ix_login_counters_ends_at", LoginCounter.ends_at)
