"""Watching: plays, the times of a viewer's own edits, scores with a decimal, time zones, public profiles, the schedule.

Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

# What is known of earlier plays: the last time that each episode was seen to its end.
PLAYS = """
INSERT INTO plays (id, user_id, anime_id, episode, watched_at)
SELECT v.id, v.user_id, a.id, e.number, v.last_viewed_at
FROM views v JOIN episodes e ON e.id = v.episode_id JOIN releases r ON r.id = e.release_id
JOIN anime a ON a.id = r.anime_id
WHERE e.number > 0 AND a.duration_seconds > 0 AND v.progress::bigint * 100 >= a.duration_seconds::bigint * 90
"""

# What is no field of an editor in the history.
FIELDS = """
CREATE OR REPLACE FUNCTION kitsu_fields(record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_strip_nulls(record) - '{{{names}}}'::text[]
"""


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "plays",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("anime_id", sa.Uuid(), sa.ForeignKey("anime.id", ondelete="CASCADE"), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("watched_at", time, nullable=False),
        sa.Column("created_at", time, server_default=sa.func.now(), nullable=False),
    )
    op.execute(PLAYS)
    op.create_index("ix_plays_newest", "plays", ["user_id", sa.text("watched_at DESC"), sa.text("id DESC")])
    op.create_index("ix_plays_episode", "plays", ["anime_id", "user_id", "episode", "watched_at"])

    op.create_index("ix_episodes_airs_at", "episodes", ["airs_at"], postgresql_where=sa.text("airs_at IS NOT NULL"))

    op.add_column("episodes", sa.Column("imported_airs_at", time))
    op.execute(FIELDS.format(names="updated_at,edited_fields,title_key,genre_keys,imported_airs_at"))

    # Devices in step hear of views that come late.
    op.add_column("views", sa.Column("updated_at", time, server_default=sa.func.now(), nullable=False))
    op.create_index("ix_views_changes", "views", ["user_id", "updated_at", "id"])

    op.add_column("library_entries", sa.Column("status_set_at", time, server_default=sa.func.now(), nullable=False))
    op.add_column("library_entries", sa.Column("episodes_set_at", time))
    op.alter_column("library_entries", "score", type_=sa.Float(), existing_type=sa.SmallInteger())

    op.add_column("users", sa.Column("timezone", sa.String(64), server_default="UTC", nullable=False))
    op.add_column("users", sa.Column("is_public", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("users", "is_public")
    op.drop_column("users", "timezone")
    op.alter_column("library_entries", "score", type_=sa.SmallInteger(), existing_type=sa.Float())
    op.drop_column("library_entries", "episodes_set_at")
    op.drop_column("library_entries", "status_set_at")
    op.drop_index("ix_episodes_airs_at", "episodes")
    op.execute(FIELDS.format(names="updated_at,edited_fields,title_key,genre_keys"))
    op.drop_column("episodes", "imported_airs_at")
    op.drop_column("views", "updated_at")
    op.drop_table("plays")
