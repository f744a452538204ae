"""The user of each item of a collection, and of each refresh token.

With many rows, CHANGELOG.md has the statements to run before, in small steps: this revision then finds nothing to do.

Revises: 0031
"""

from alembic import op

revision = "0032"
down_revision = "0031"
compatible_with = "0030"
contracts = {"collection_items.ck_collection_items_user_id", "refresh_tokens.ck_refresh_tokens_user_id"}  # as in 0031

TABLES = ("collection_items", "refresh_tokens")


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"UPDATE {table} SET user_id = NULL WHERE user_id IS NULL")  # the trigger sets it
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_user_id")


def downgrade() -> None:
    pass
