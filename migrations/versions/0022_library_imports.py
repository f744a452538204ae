"""Imports of viewers' lists: their reports, the files that jobs import, and the rows whose anime is unknown.

Revises: 0021
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0021"

STATES = ("waiting", "running", "done", "failed")


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "library_imports",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", time, server_default=sa.func.now(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("format", sa.String(8)),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rows_total", sa.Integer()),
        sa.Column("rows_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("report", JSONB()),
        sa.Column("error", sa.Text()),
        sa.Column("finished_at", time),
        sa.CheckConstraint(f"state IN {STATES}", name="state"),
    )
    op.create_index(
        "ix_library_imports_newest", "library_imports", ["user_id", sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index("ix_library_imports_created_at", "library_imports", ["created_at"])
    op.create_index(
        "uq_library_imports_unfinished",
        "library_imports",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "library_import_chunks",
        sa.Column("import_id", sa.Uuid(), sa.ForeignKey("library_imports.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("file", sa.String(16), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("library_import_chunks")
    op.drop_table("library_imports")
