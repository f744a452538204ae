"""Accounts that their owners deactivated, and the times of what the workers run regularly.

Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("users", sa.Column("deletion_at", time))
    op.add_column("users", sa.Column("deletion_reminded_at", time))
    op.create_index(
        "ix_users_deletion_at", "users", ["deletion_at"], postgresql_where=sa.text("deletion_at IS NOT NULL")
    )
    op.create_table(
        "schedules", sa.Column("name", sa.String(32), primary_key=True), sa.Column("due_at", time, nullable=False)
    )


def downgrade() -> None:
    op.drop_table("schedules")
    op.drop_column("users", "deletion_reminded_at")
    op.drop_column("users", "deletion_at")
