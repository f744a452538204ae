"""Merges of anime: what an old id has become, and what undoing a merge needs.

Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    # A merge moves favourites to another anime: devices hear of it by this time.
    op.add_column(
        "favorites", sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
    )
    op.execute("UPDATE favorites SET updated_at = created_at")
    op.create_index("ix_favorites_changes", "favorites", ["user_id", "updated_at", "id"])

    op.create_table(
        "anime_merges",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("merged_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("from_title", sa.String(255), nullable=False),
        sa.Column("into_id", sa.Uuid(), nullable=False),
        sa.Column("into_title", sa.String(255), nullable=False),
        sa.Column("current_id", sa.Uuid(), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True)),
        sa.Column("moved", JSONB(), nullable=False),
        sa.Column("report", JSONB(), nullable=False),
    )
    not_undone = sa.text("undone_at IS NULL")
    op.create_index("ix_anime_merges_from_id", "anime_merges", ["from_id"], unique=True, postgresql_where=not_undone)
    op.create_index("ix_anime_merges_current_id", "anime_merges", ["current_id"], postgresql_where=not_undone)
    op.create_index("ix_anime_merges_into_id", "anime_merges", ["into_id"])
    op.create_index("ix_anime_merges_newest", "anime_merges", [sa.text("merged_at DESC"), sa.text("id DESC")])
    op.create_index(
        "ix_anime_merges_user_id", "anime_merges", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL")
    )
    op.create_table(
        "merged_rows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("merge_id", sa.Uuid(), sa.ForeignKey("anime_merges.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("old_row", JSONB(), nullable=False),
        sa.Column("into_row", JSONB()),
    )
    op.create_index("ix_merged_rows_merge_id", "merged_rows", ["merge_id", "kind"])
    op.create_index("ix_merged_rows_user_id", "merged_rows", ["user_id"])


def downgrade() -> None:
    op.drop_table("merged_rows")
    op.drop_table("anime_merges")
    op.drop_index("ix_favorites_changes", "favorites")
    op.drop_column("favorites", "updated_at")
