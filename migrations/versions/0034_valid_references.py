"""The references of 0033 hold for the rows that were there before, too.

Revises: 0033
"""

from alembic import op

revision = "0034"
down_revision = "0033"
compatible_with = "0030"

REFERENCES = {
    "collection_items": "fk_collection_items_user_id_collections",
    "refresh_tokens": "fk_refresh_tokens_user_id_auth_sessions",
}
contracts = {f"{table}.{name}" for table, name in REFERENCES.items()}  # as in 0033


def upgrade() -> None:
    for table, name in REFERENCES.items():
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def downgrade() -> None:
    pass
