"""Jobs: the tables of pgqueuer, and imports of the catalogue that run as jobs.

Revises: 0018
"""

from pkgutil import resolve_name
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"

STATES = ("uploaded", "checking", "checked", "importing", "done", "failed")


def upgrade() -> None:
    _run_on_queue("install")

    op.create_table(
        "import_runs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(16), server_default="uploaded", nullable=False),
        sa.Column("report", JSONB()),
        sa.Column("error", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(f"state IN {STATES}", name="state"),
    )
    op.create_index("ix_import_runs_created_at", "import_runs", [sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("ix_import_runs_user_id", "import_runs", ["user_id"])
    op.create_table(
        "import_chunks",
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("import_runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    # Most files are compressed already.
    op.execute("ALTER TABLE import_chunks ALTER data SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("import_chunks")
    op.drop_table("import_runs")
    _run_on_queue("uninstall")


def _run_on_queue(action: str) -> None:
    """Install or uninstall pgqueuer's tables in this transaction."""
    # By name, as web workers import all revisions and do without pgqueuer.
    queries: Any = resolve_name("pgqueuer.queries:Queries")
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda raw: getattr(queries.from_asyncpg_connection(raw), action)())
