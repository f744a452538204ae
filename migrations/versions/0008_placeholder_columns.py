"""Re-typed columns of tables that no migration ever made; kept because databases in the field stand at this revision.

Revises: 0007
"""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Nothing to do."""


def downgrade() -> None:
    """Nothing to do."""
