"""Limits: counters of logins and of plays, and of deleted rows only the newest.

Revises: 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

# 0.15 s for each million of plays, in which others read and add plays. Those that the old version adds until it is
# replaced are not counted.
COUNT = (
    "INSERT INTO play_counts (user_id, plays, most) SELECT user_id, count(*), 2147483647 FROM plays GROUP BY user_id"
)
# In one order, as deletions of two anime may concern the same users.
UNCOUNT = """
CREATE FUNCTION kitsu_uncount_plays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM play_counts WHERE user_id IN (SELECT user_id FROM gone) ORDER BY user_id FOR UPDATE;
    UPDATE play_counts c SET plays = greatest(c.plays - g.number, 0)
    FROM (SELECT user_id, count(*)::integer AS number FROM gone GROUP BY user_id) g WHERE c.user_id = g.user_id;
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER uncount_plays AFTER DELETE ON plays REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION kitsu_uncount_plays()
"""
# Of each list the newest ones are kept, checked once in about 100 deletions.
BURY = """
CREATE OR REPLACE FUNCTION kitsu_bury() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (id, user_id, kind, anime_id)
    SELECT gone.id, gone.user_id, TG_TABLE_NAME, (to_jsonb(gone) ->> 'anime_id')::uuid
    FROM gone JOIN users ON users.id = gone.user_id;
    {limit}RETURN NULL;
END
$$
"""
LIMIT = """DELETE FROM tombstones t
    USING (SELECT user_id FROM gone GROUP BY user_id HAVING random() < count(*) * 0.01) u, LATERAL (
        SELECT deleted_at, id FROM tombstones WHERE user_id = u.user_id AND kind = TG_TABLE_NAME
        ORDER BY deleted_at DESC, id DESC OFFSET 50000 LIMIT 1
    ) first
    WHERE t.user_id = u.user_id AND t.kind = TG_TABLE_NAME AND (t.deleted_at, t.id) <= (first.deleted_at, first.id);
    """


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "login_counters",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unfinished", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waits_until", time),
        sa.Column("ends_at", time, nullable=False),
    )
    op.create_index("ix_login_counters_ends_at", "login_counters", ["ends_at"])

    op.create_table(
        "play_counts",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("plays", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.CheckConstraint("plays <= most", name="most"),
    )
    op.execute(COUNT)
    op.execute(UNCOUNT)
    op.execute(TRIGGER)
    op.execute(BURY.format(limit=LIMIT))


def downgrade() -> None:
    op.execute(BURY.format(limit=""))
    op.execute("DROP TRIGGER uncount_plays ON plays")
    op.execute("DROP FUNCTION kitsu_uncount_plays()")
    op.drop_table("play_counts")
    op.drop_table("login_counters")
