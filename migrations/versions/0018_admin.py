"""The admin site: actions of administrators, searches without a result, daily numbers, and indexes of its lists.

Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"

INDEXES = {
    "ix_users_email_start": "ON users (lower(email) text_pattern_ops)",
    "ix_users_username_start": "ON users (lower(username) text_pattern_ops)",
    "ix_catalogue_changes_source": "ON catalogue_changes (source, id DESC)",
    "ix_catalogue_changes_user_id": "ON catalogue_changes (user_id, id DESC) WHERE user_id IS NOT NULL",
    "ix_admin_actions_subject": "ON admin_actions (subject_user_id, id DESC)",
    "ix_admin_actions_user_id": "ON admin_actions (user_id, id DESC)",
}


def upgrade() -> None:
    op.create_table(
        "admin_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_user_id", sa.Uuid(), nullable=True),
        sa.Column("details", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_admin_actions_user_id_users", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_admin_actions"),
    )
    op.create_table(
        "missed_searches",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("query", sa.String(100), nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("day", "query", name="pk_missed_searches"),
    )
    op.create_table(
        "daily_numbers",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("active_viewers", sa.Integer(), nullable=False),
        sa.Column("watched_episodes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_daily_numbers"),
    )
    op.drop_index("ix_catalogue_changes_user_id", "catalogue_changes")
    for name, definition in INDEXES.items():
        op.execute(f"CREATE INDEX {name} {definition}")


def downgrade() -> None:
    for table in ("daily_numbers", "missed_searches", "admin_actions"):
        op.drop_table(table)
    for name in list(INDEXES)[:4]:
        op.execute(f"DROP INDEX {name}")
    op.execute("CREATE INDEX ix_catalogue_changes_user_id ON catalogue_changes (user_id) WHERE user_id IS NOT NULL")
