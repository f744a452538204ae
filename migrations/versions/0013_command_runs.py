"""When a backup, a purge and an import of the catalogue were last made.

Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "command_runs",
        sa.Column("command", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("command", name="pk_command_runs"),
    )


def downgrade() -> None:
    op.drop_table("command_runs")
