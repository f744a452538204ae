"""When an e-mail address was verified, and what must not have changed since a token was issued.

Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("users", sa.Column("email_verified_at", sa.DateTime(timezone=True)))
    op.add_column("account_tokens", sa.Column("state_hash", sa.String(64)))
    op.create_index(
        "ix_account_tokens_reserved",
        "account_tokens",
        [sa.text("lower(email)")],
        postgresql_where=sa.text("purpose = 'revert-email' AND used_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_account_tokens_reserved")
    op.drop_column("account_tokens", "state_hash")
    op.drop_column("users", "email_verified_at")
