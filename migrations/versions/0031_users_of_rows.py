"""Items of collections and refresh tokens have their user, like all rows of viewers.

Rows that are there get it in 0032; those of versions that don't know the column get it from a trigger.

Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
compatible_with = "0030"
# The triggers keep the constraints.
contracts = {"collection_items.ck_collection_items_user_id", "refresh_tokens.ck_refresh_tokens_user_id"}

PARENTS = {"collection_items": ("collections", "collection_id"), "refresh_tokens": ("auth_sessions", "session_id")}

FUNCTION = """
CREATE FUNCTION kitsu_set_user_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.user_id := (SELECT user_id FROM {parent} WHERE id = NEW.{reference});
    RETURN NEW;
END
$$
"""
TRIGGER = """
CREATE TRIGGER set_user BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN (NEW.user_id IS NULL)
EXECUTE FUNCTION kitsu_set_user_of_{table}()
"""


def upgrade() -> None:
    for table, (parent, reference) in PARENTS.items():
        op.add_column(table, sa.Column("user_id", sa.Uuid()))
        op.execute(FUNCTION.format(table=table, parent=parent, reference=reference))
        op.execute(TRIGGER.format(table=table))
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_user_id CHECK (user_id IS NOT NULL) NOT VALID")


def downgrade() -> None:
    for table in PARENTS:
        op.execute(f"DROP TRIGGER set_user ON {table}")
        op.execute(f"DROP FUNCTION kitsu_set_user_of_{table}()")
        op.drop_column(table, "user_id")  # its constraint goes with it
