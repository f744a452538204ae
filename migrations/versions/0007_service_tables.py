"""The tables of the service that Kitsu takes over, so that its databases go on from here.

Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = None


def _id() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid(), primary_key=True)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _owner(column: str, table: str, *, index: bool = True) -> sa.Column[object]:
    return sa.Column(column, sa.Uuid(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False, index=index)


def upgrade() -> None:
    op.create_table(
        "users",
        _id(),
        sa.Column("email", sa.String(255), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        _time("created_at"),
        sa.Column("avatar", sa.String(255)),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "anime",
        _id(),
        sa.Column("title", sa.String(255), nullable=False, index=True),
        sa.Column("title_original", sa.String(255)),
        sa.Column("description", sa.Text()),
        sa.Column("year", sa.Integer()),
        sa.Column("status", sa.String(64)),
        _time("created_at"),
    )
    op.create_table(
        "releases",
        _id(),
        _owner("anime_id", "anime"),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("year", sa.Integer()),
        sa.Column("status", sa.String(64)),
        _time("created_at"),
    )
    op.create_table(
        "episodes",
        _id(),
        _owner("release_id", "releases"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(255)),
        _time("created_at"),
    )
    op.create_table(
        "favorites",
        _id(),
        _owner("user_id", "users"),
        _owner("anime_id", "anime"),
        _time("created_at"),
        sa.UniqueConstraint("user_id", "anime_id", name="uq_favorites_user_id"),
    )
    op.create_table(
        "refresh_tokens",
        _id(),
        _owner("user_id", "users", index=False),
        sa.Column("token_hash", sa.String(64), nullable=False, index=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.Boolean(), server_default=sa.false(), nullable=False),
        _time("created_at"),
        sa.UniqueConstraint("user_id", name="uq_refresh_tokens_user_id"),
    )
    op.create_table(
        "watch_progress",
        _id(),
        _owner("user_id", "users"),
        _owner("anime_id", "anime"),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("position_seconds", sa.Integer()),
        sa.Column("progress_percent", sa.Float()),
        _time("created_at"),
        _time("last_watched_at"),
        sa.UniqueConstraint("user_id", "anime_id", name="uq_watch_progress_user_id"),
    )


def downgrade() -> None:
    for table in ("watch_progress", "refresh_tokens", "favorites", "episodes", "releases", "anime", "users"):
        op.drop_table(table)
