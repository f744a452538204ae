"""Accounts: a role and a name, one account per e-mail whatever its case, any number of sessions, and rate limits.

Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from kitsu.db.migrations import SchemaError

revision = "0010"
down_revision = "0009"

PAIRS = """
SELECT array_agg(email ORDER BY email) FROM users GROUP BY lower(email) HAVING count(*) > 1 ORDER BY lower(email)
"""

# From the e-mail's local part; something random tells apart those who share one.
NAMES = """
WITH wished AS (
    SELECT id, created_at, left(regexp_replace(split_part(email, '@', 1), '[^A-Za-z0-9_-]', '', 'g'), 32) AS name
    FROM users
), named AS (
    SELECT id, created_at, CASE WHEN length(name) < 3 THEN 'user' ELSE name END AS name, length(name) < 3 AS nameless
    FROM wished
), ranked AS (
    SELECT id, name,
           nameless OR row_number() OVER (PARTITION BY lower(name) ORDER BY created_at, id) > 1 AS taken
    FROM named
)
UPDATE users
SET username = CASE WHEN taken THEN left(name, 19) || '-' || left(md5(gen_random_uuid()::text), 12) ELSE name END
FROM ranked WHERE ranked.id = users.id
"""

# One session for each token there was; a token that was revoked keeps answering so.
SESSIONS = """
INSERT INTO auth_sessions (id, user_id, generation, created_at, last_used_at, expires_at, revoked_at, revoke_reason)
SELECT id, user_id, 1, created_at, created_at, expires_at,
       CASE WHEN revoked THEN now() END, CASE WHEN revoked THEN 'logout' END
FROM old_refresh_tokens
"""
TOKENS = """
INSERT INTO refresh_tokens (session_id, generation, token_hash, issued_at, expires_at)
SELECT id, 1, token_hash, created_at, expires_at FROM old_refresh_tokens
"""

# The older schema holds one token per user: the newest one of the session that was used last, a living one if there is.
OLD_TOKENS = """
INSERT INTO old_refresh_tokens (id, user_id, token_hash, expires_at, revoked, created_at)
SELECT DISTINCT ON (s.user_id) s.id, s.user_id, t.token_hash, t.expires_at, s.revoked_at IS NOT NULL, t.issued_at
FROM auth_sessions s JOIN refresh_tokens t ON t.session_id = s.id AND t.generation = s.generation
ORDER BY s.user_id, s.revoked_at IS NOT NULL, s.last_used_at DESC, s.id
"""


def _time(name: str, *, default: bool = False, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.func.now() if default else None, nullable=nullable
    )


def _id_of(name: str, table: str, *, primary_key: bool = False) -> sa.Column[object]:
    reference = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.Uuid(), reference, primary_key=primary_key, nullable=False, index=not primary_key)


def upgrade() -> None:
    pairs = op.get_bind().scalars(sa.text(PAIRS)).all()
    if pairs:
        listed = "\n".join("  " + ", ".join(emails) for emails in pairs)
        raise SchemaError(
            f"These accounts have e-mails that differ in case alone; nothing was changed:\n{listed}\n"
            "Settle them with `kitsu settle-emails`, then migrate again."
        )

    op.add_column("users", sa.Column("username", sa.String(32)))
    op.execute(NAMES)
    op.alter_column("users", "username", nullable=False)
    op.add_column("users", sa.Column("role", sa.String(16), server_default="user", nullable=False))
    op.create_check_constraint("role", "users", "role IN ('user', 'admin')")
    op.create_index("uq_users_email_lower", "users", [sa.text("lower(email)")], unique=True)
    op.create_index("uq_users_username_lower", "users", [sa.text("lower(username)")], unique=True)
    op.create_index("ix_users_created_at", "users", [sa.text("created_at DESC"), sa.text("id DESC")])

    op.create_table(
        "auth_sessions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _id_of("user_id", "users"),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        _time("created_at", default=True),
        _time("last_used_at", default=True),
        _time("expires_at"),
        _time("revoked_at", nullable=True),
        sa.Column("revoke_reason", sa.String(16)),
        sa.Column("user_agent", sa.Text()),
        sa.Column("ip", sa.String(45)),
    )
    op.create_index("ix_auth_sessions_expires_at", "auth_sessions", ["expires_at"])
    _make_room("refresh_tokens", "old_refresh_tokens")
    op.create_table(
        "refresh_tokens",
        _id_of("session_id", "auth_sessions", primary_key=True),
        sa.Column("generation", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        _time("issued_at", default=True),
        _time("expires_at"),
        _time("used_at", nullable=True),
    )
    op.execute(SESSIONS)
    op.execute(TOKENS)
    op.drop_table("old_refresh_tokens")

    op.create_table(
        "rate_limits",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("hits", sa.Integer(), nullable=False),
        _time("ends_at"),
    )
    op.create_index("ix_rate_limits_ends_at", "rate_limits", ["ends_at"])


def downgrade() -> None:
    op.drop_table("rate_limits")
    op.create_table(
        "old_refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        _time("expires_at"),
        sa.Column("revoked", sa.Boolean(), server_default=sa.false(), nullable=False),
        _time("created_at", default=True),
    )
    op.execute(OLD_TOKENS)
    op.drop_table("refresh_tokens")
    op.drop_table("auth_sessions")
    op.rename_table("old_refresh_tokens", "refresh_tokens")
    op.create_primary_key("pk_refresh_tokens", "refresh_tokens", ["id"])
    op.create_foreign_key(
        "fk_refresh_tokens_user_id_users", "refresh_tokens", "users", ["user_id"], ["id"], ondelete="CASCADE"
    )
    op.create_unique_constraint("uq_refresh_tokens_user_id", "refresh_tokens", ["user_id"])
    op.create_index("ix_refresh_tokens_token_hash", "refresh_tokens", ["token_hash"])

    op.drop_index("ix_users_created_at", "users")
    op.drop_index("uq_users_username_lower", "users")
    op.drop_index("uq_users_email_lower", "users")
    op.drop_column("users", "role")  # its check goes with it
    op.drop_column("users", "username")


def _make_room(table: str, name: str) -> None:
    """Put a table aside, with names of its own for what hangs on it."""
    op.rename_table(table, name)
    op.drop_constraint(f"uq_{table}_user_id", name)
    op.drop_index(f"ix_{table}_token_hash", name)
    op.drop_constraint(f"fk_{table}_user_id_users", name)
    op.drop_constraint(f"pk_{table}", name)
