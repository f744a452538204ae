"""Each key of the tables of viewers contains the user, so that the rows can be distributed by user.

Of favourites, progress, views and the library the key is what was unique anyway: one index less to write. With many
rows, CHANGELOG.md has the indexes to create before.

Revises: 0032
"""

from alembic import op

revision = "0033"
down_revision = "0032"
compatible_with = "0030"

# The name of the key is that of the unique constraint, as older versions know what its violation means.
ROWS = {"favorites": "anime_id", "watch_progress": "anime_id", "library_entries": "anime_id", "views": "episode_id"}
ENTITIES = ("plays", "tombstones", "collections", "auth_sessions")
CHILDREN = {"collection_items": ("collection_id", "collections"), "refresh_tokens": ("session_id", "auth_sessions")}
# No version has ON CONFLICT for these, and no row has NULL for the user since 0031.
contracts = {
    *(f"{table}.pk_{table}" for table in (*ROWS, *ENTITIES, *CHILDREN)),
    *(f"{table}.uq_{table}_user_id" for table in ROWS),
    *(f"{table}.fk_{table}_user_id_{parent}" for table, (_, parent) in CHILDREN.items()),
    *(f"{table}.user_id" for table in CHILDREN),
    "refresh_tokens.uq_refresh_tokens_token_hash",
}


def upgrade() -> None:
    op.drop_constraint("fk_refresh_tokens_session_id_auth_sessions", "refresh_tokens")
    op.drop_constraint("fk_collection_items_collection_id_collections", "collection_items")
    # Nothing may refer to rows that are distributed, but rows of the same user. A flow ends after minutes, and is used
    # only while its session is active.
    op.drop_constraint("fk_oidc_flows_session_id_auth_sessions", "oidc_flows")
    op.drop_index("ix_oidc_flows_session_id", "oidc_flows")

    for table, other in ROWS.items():
        _replace_key(table, ("user_id", other), f"uq_{table}_user_id", drop=(f"pk_{table}", f"uq_{table}_user_id"))
    for table in ENTITIES:
        _replace_key(table, ("user_id", "id"), f"pk_{table}", drop=(f"pk_{table}",))
    # The count of the anime in a collection, of one user, reads the index alone.
    _replace_key(
        "collection_items",
        ("collection_id", "anime_id"),
        "pk_collection_items",
        drop=("pk_collection_items",),
        include=["user_id"],
    )
    _replace_key(
        "refresh_tokens",
        ("user_id", "session_id", "generation"),
        "pk_refresh_tokens",
        drop=("pk_refresh_tokens", "uq_refresh_tokens_token_hash"),
    )
    op.create_index("ix_refresh_tokens_token_hash", "refresh_tokens", ["token_hash"], if_not_exists=True)
    op.create_index("ix_collections_id", "collections", ["id"], if_not_exists=True)
    op.create_index("ix_auth_sessions_id", "auth_sessions", ["id"], if_not_exists=True)
    op.drop_index("ix_auth_sessions_user_id", "auth_sessions")  # the key begins with it

    for table, (reference, parent) in CHILDREN.items():
        op.alter_column(table, "user_id", nullable=False)
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_user_id")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_user_id_{parent} FOREIGN KEY (user_id, {reference}) "
            f"REFERENCES {parent} (user_id, id) ON DELETE CASCADE NOT VALID"
        )


def _replace_key(
    table: str, columns: tuple[str, ...], name: str, *, drop: tuple[str, ...], include: list[str] | None = None
) -> None:
    op.create_index(
        f"key_{table}", table, list(columns), unique=True, if_not_exists=True, postgresql_include=include or []
    )
    dropped = ", ".join(f"DROP CONSTRAINT {each}" for each in drop)
    op.execute(f"ALTER TABLE {table} {dropped}, ADD CONSTRAINT {name} PRIMARY KEY USING INDEX key_{table}")


def downgrade() -> None:
    for table, (_, parent) in CHILDREN.items():
        op.drop_constraint(f"fk_{table}_user_id_{parent}", table)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_user_id CHECK (user_id IS NOT NULL)")
    for table in ENTITIES:
        op.drop_constraint(f"pk_{table}", table)
        op.create_primary_key(f"pk_{table}", table, ["id"])
    for table, other in ROWS.items():
        op.drop_constraint(f"uq_{table}_user_id", table)
        op.create_primary_key(f"pk_{table}", table, ["id"])
        op.create_unique_constraint(f"uq_{table}_user_id", table, ["user_id", other])
    op.drop_constraint("pk_refresh_tokens", "refresh_tokens")
    op.create_primary_key("pk_refresh_tokens", "refresh_tokens", ["session_id", "generation"])
    op.create_unique_constraint("uq_refresh_tokens_token_hash", "refresh_tokens", ["token_hash"])
    op.drop_index("ix_refresh_tokens_token_hash", "refresh_tokens")
    for table, (reference, parent) in CHILDREN.items():
        op.alter_column(table, "user_id", nullable=True)
        name = f"fk_{table}_{reference}_{parent}"
        op.create_foreign_key(name, table, parent, [reference], ["id"], ondelete="CASCADE")
    op.create_index("ix_auth_sessions_user_id", "auth_sessions", ["user_id"])
    op.drop_index("ix_auth_sessions_id", "auth_sessions")
    op.drop_index("ix_collections_id", "collections")
    op.execute("DELETE FROM oidc_flows WHERE session_id IS NOT NULL")  # each is minutes old
    op.drop_constraint("pk_collection_items", "collection_items")
    op.create_primary_key("pk_collection_items", "collection_items", ["collection_id", "anime_id"])
    op.create_index("ix_oidc_flows_session_id", "oidc_flows", ["session_id"])
    op.create_foreign_key(
        "fk_oidc_flows_session_id_auth_sessions",
        "oidc_flows",
        "auth_sessions",
        ["session_id"],
        ["id"],
        ondelete="CASCADE",
    )
