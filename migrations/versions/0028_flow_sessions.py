"""The session in which a user began to link an OpenID provider.

Revises: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    # Flows in progress have none: their links are refused, and their sign-ins go on.
    session_id = sa.Column("session_id", sa.Uuid(), sa.ForeignKey("auth_sessions.id", ondelete="CASCADE"))
    op.add_column("oidc_flows", session_id)
    op.create_index("ix_oidc_flows_session_id", "oidc_flows", ["session_id"])


def downgrade() -> None:
    op.drop_column("oidc_flows", "session_id")
