"""Sign-in with OpenID providers: the identities of users there, and the flows in progress.

Revises: 0026
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "external_identities",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", time, server_default=sa.func.now(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("email", sa.Text()),
        sa.UniqueConstraint("issuer", "subject", name="uq_external_identities_issuer"),
    )
    op.create_index("ix_external_identities_user_id", "external_identities", ["user_id"])
    op.create_table(
        "oidc_flows",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", time, server_default=sa.func.now(), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("browser_hash", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("redirect_to", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("claims", JSONB()),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_index("ix_oidc_flows_user_id", "oidc_flows", ["user_id"])
    op.create_index("ix_oidc_flows_expires_at", "oidc_flows", ["expires_at"])


def downgrade() -> None:
    op.drop_table("oidc_flows")
    op.drop_table("external_identities")
