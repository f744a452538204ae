"""What a viewer keeps: history, collections, the library; what was deleted of it, and what an interrupted write left.

Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

from kitsu.db.migrations import SchemaError

revision = "0011"
down_revision = "0010"

NEW = ("views", "collections", "library_entries")
SYNCED = ("favorites", "watch_progress", *NEW)

# Also for rows that go with their anime; not for those that go with their user, who is gone by then.
BURY = """
CREATE FUNCTION kitsu_bury() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (id, user_id, kind, anime_id)
    SELECT gone.id, gone.user_id, TG_TABLE_NAME, (to_jsonb(gone) ->> 'anime_id')::uuid
    FROM gone JOIN users ON users.id = gone.user_id;
    RETURN NULL;
END
$$
"""
# An anime that goes from the catalogue goes from collections, whose devices are to hear of it.
CHANGE = """
CREATE FUNCTION kitsu_change_collections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE collections SET version = version + 1, updated_at = now() WHERE id IN (SELECT collection_id FROM gone);
    RETURN NULL;
END
$$
"""
CHANGE_TRIGGER = """
CREATE TRIGGER change_collections AFTER DELETE ON collection_items REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION kitsu_change_collections()
"""
TRIGGER = """
CREATE TRIGGER bury AFTER DELETE ON {} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION kitsu_bury()
"""


def _id(name: str = "id") -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), primary_key=True)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _ref(column: str, table: str, *, index: bool = True, primary_key: bool = False) -> sa.Column[object]:
    reference = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(column, sa.Uuid(), reference, nullable=False, index=index, primary_key=primary_key)


def _number(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Integer(), server_default=default, nullable=False)


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _newest_first(table: str, column: str) -> None:
    op.create_index(f"ix_{table}_newest", table, ["user_id", sa.text(f"{column} DESC"), sa.text("id DESC")])


def upgrade() -> None:
    if there := [table for table in NEW if sa.inspect(op.get_bind()).has_table(table)]:
        raise SchemaError(
            f"The database has tables that no migration made ({', '.join(there)}); nothing was changed. "
            "Rename or drop them, then migrate again."
        )

    _newest_first("favorites", "created_at")
    op.drop_index("ix_favorites_user_id", "favorites")

    op.execute("UPDATE watch_progress SET last_watched_at = created_at WHERE last_watched_at IS NULL")
    op.add_column("watch_progress", _time("updated_at"))
    op.execute("UPDATE watch_progress SET updated_at = last_watched_at")
    op.add_column("watch_progress", _flag("hidden"))
    _newest_first("watch_progress", "last_watched_at")
    op.drop_index("ix_watch_progress_user_id", "watch_progress")

    op.create_table(
        "views",
        _id(),
        _ref("user_id", "users", index=False),
        _ref("episode_id", "episodes"),
        _number("progress"),
        sa.Column("device", sa.String(128)),
        _time("created_at"),
        _time("last_viewed_at"),
        sa.UniqueConstraint("user_id", "episode_id", name="uq_views_user_id"),
    )
    _newest_first("views", "last_viewed_at")

    op.create_table(
        "collections",
        _id(),
        _ref("user_id", "users", index=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text()),
        _flag("is_public"),
        _number("version", "1"),
        _time("created_at"),
        _time("updated_at"),
    )
    _newest_first("collections", "created_at")
    op.create_index(
        "ix_collections_public",
        "collections",
        [sa.text("created_at DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("is_public IS true"),
    )
    op.create_table(
        "collection_items",
        _ref("collection_id", "collections", index=False, primary_key=True),
        _ref("anime_id", "anime", primary_key=True),
        _number("position"),
        _time("added_at"),
    )
    op.create_index("ix_collection_items_position", "collection_items", ["collection_id", "position"])

    op.create_table(
        "library_entries",
        _id(),
        _ref("user_id", "users", index=False),
        _ref("anime_id", "anime"),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("score", sa.SmallInteger()),
        sa.Column("notes", sa.Text()),
        _number("episodes_watched", "0"),
        sa.Column("started_on", sa.String(10)),
        sa.Column("completed_on", sa.String(10)),
        _number("times_rewatched", "0"),
        _flag("is_rewatching"),
        sa.Column("tags", sa.Text()),
        _number("version", "1"),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("user_id", "anime_id", name="uq_library_entries_user_id"),
        sa.CheckConstraint(
            "status IN ('watching', 'completed', 'on_hold', 'dropped', 'plan_to_watch')", name="library_status"
        ),
        sa.CheckConstraint("score BETWEEN 1 AND 10", name="library_score"),
    )
    _newest_first("library_entries", "updated_at")

    op.create_table(
        "tombstones",
        _id(),
        _ref("user_id", "users", index=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("anime_id", sa.Uuid()),
        _time("deleted_at"),
    )
    op.create_index("ix_tombstones_changes", "tombstones", ["user_id", "kind", "deleted_at", "id"])
    op.create_index("ix_tombstones_deleted_at", "tombstones", ["deleted_at"])
    op.execute(BURY)
    for table in SYNCED:
        op.execute(TRIGGER.format(table))

    op.execute(CHANGE)
    op.execute(CHANGE_TRIGGER)

    op.create_table(
        "idempotency_keys",
        _ref("user_id", "users", index=False, primary_key=True),
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary()),
        _time("created_at"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_index("ix_users_avatar", "users", ["avatar"], postgresql_where=sa.text("avatar IS NOT NULL"))
    op.create_table("stray_files", sa.Column("path", sa.String(255), primary_key=True), _time("since"))


def downgrade() -> None:
    op.drop_index("ix_users_avatar", "users")
    for table in ("stray_files", "idempotency_keys", "collection_items", *NEW):
        op.drop_table(table)
    for table in ("favorites", "watch_progress"):
        op.execute(f"DROP TRIGGER bury ON {table}")
        op.create_index(f"ix_{table}_user_id", table, ["user_id"])
        op.drop_index(f"ix_{table}_newest", table)
    op.execute("DROP FUNCTION kitsu_change_collections()")
    op.execute("DROP FUNCTION kitsu_bury()")
    op.drop_table("tombstones")
    op.drop_column("watch_progress", "hidden")
    op.drop_column("watch_progress", "updated_at")
