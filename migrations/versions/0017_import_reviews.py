"""The review queue: what an import could not decide.

Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "import_reviews",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("state", sa.String(16), server_default="open", nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("from_title", sa.String(255), nullable=False),
        sa.Column("into_id", sa.Uuid()),
        sa.Column("entry", JSONB(), nullable=False),
        sa.Column("external_ids", ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL")),
    )
    op.create_index("ix_import_reviews_key", "import_reviews", [sa.text("md5(key)")], unique=True)
    op.create_index("ix_import_reviews_state", "import_reviews", ["state", "created_at", "id"])
    op.create_index(
        "ix_import_reviews_user_id", "import_reviews", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_table("import_reviews")
