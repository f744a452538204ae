"""Second factors: TOTP, recovery codes, and challenges that were answered.

Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("users", sa.Column("second_factor_since", time))
    op.create_table(
        "totp_factors",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", time, server_default=sa.func.now(), nullable=False),
        sa.Column("confirmed_at", time),
        sa.Column("last_step", sa.BigInteger()),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("code_hash", sa.String(64), primary_key=True),
    )
    op.create_table(
        "spent_challenges", sa.Column("id", sa.Uuid(), primary_key=True), sa.Column("expires_at", time, nullable=False)
    )
    op.create_index("ix_spent_challenges_expires_at", "spent_challenges", ["expires_at"])


def downgrade() -> None:
    for table in ("spent_challenges", "recovery_codes", "totp_factors"):
        op.drop_table(table)
    op.drop_column("users", "second_factor_since")
