"""Merges: the time of the row that a merge left, which the undo of another merge carries on. Sorted lists of a status.

Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column(
        "merged_rows", sa.Column("result_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
    )
    op.execute("UPDATE merged_rows SET result_at = merged_at FROM anime_merges m WHERE m.id = merge_id")
    # An undo looks for the rows of the same viewers in other merges.
    op.drop_index("ix_merged_rows_merge_id", "merged_rows")
    op.create_index("ix_merged_rows_merge_id", "merged_rows", ["merge_id", "kind", "user_id"])
    # Anime of a status may all be at the end of the list by score: upcoming ones have none.
    op.create_index("ix_anime_status_score", "anime", [sa.text("lower(status)"), "score", "id"])
    best = [sa.text("lower(status)"), sa.text("score DESC NULLS LAST"), sa.text("id DESC")]
    op.create_index("ix_anime_status_score_desc", "anime", best)


def downgrade() -> None:
    op.drop_index("ix_anime_status_score_desc", "anime")
    op.drop_index("ix_anime_status_score", "anime")
    op.drop_index("ix_merged_rows_merge_id", "merged_rows")
    op.create_index("ix_merged_rows_merge_id", "merged_rows", ["merge_id", "kind"])
    op.drop_column("merged_rows", "result_at")
