"""The catalogue says when it changes, to whoever keeps answers of it; whoever changes it, `psql` too.

Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"

# Whose rows are in the answers.
TABLES = ("anime", "releases", "episodes", "external_ids")

FUNCTION = """
CREATE FUNCTION kitsu_catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('kitsu_catalogue', '');
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER catalogue_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {}
FOR EACH STATEMENT EXECUTE FUNCTION kitsu_catalogue_changed()
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    for table in TABLES:
        op.execute(TRIGGER.format(table))


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER catalogue_changed ON {table}")
    op.execute("DROP FUNCTION kitsu_catalogue_changed()")
