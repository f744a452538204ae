"""Editing of the catalogue: who changed what, which fields imports must leave alone, and each episode number once.

Revises: 0014

Triggers record the changes and mark the fields, so that edits with `psql` are recorded and kept too. A transaction says
who it is by two settings: `kitsu.change_source` and `kitsu.changed_by`.
"""

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0015"
down_revision = "0014"

log = structlog.get_logger("kitsu.migrations")

ENTITIES = {"anime": "anime", "releases": "release", "episodes": "episode", "external_ids": "external_id"}
IMPORTED = (
    *("title", "type", "status", "episode_count", "season", "year", "poster", "thumbnail", "duration_seconds", "score"),
    *("synonyms", "studios", "genres"),
)
"""The columns of `anime` that an import writes. Of `releases` it writes title, year and status."""

# What is no field of an editor: the database computes it.
FIELDS = """
CREATE FUNCTION kitsu_fields(record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_strip_nulls(record) - '{updated_at,edited_fields,title_key,genre_keys}'::text[]
"""
DIFFERENCE = """
CREATE FUNCTION kitsu_difference(before jsonb, after jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(jsonb_object_agg(key, jsonb_build_object('before', before->key, 'after', after->key)), '{}')
    FROM (SELECT jsonb_object_keys(before) UNION SELECT jsonb_object_keys(after)) keys(key)
    WHERE before->key IS DISTINCT FROM after->key
)
"""
# One row for each row that changed. A new anime of an import has no fields in it, and its releases, episodes and ids no
# rows: they are what the file says, and would take as much room again.
RECORD = """
CREATE FUNCTION kitsu_record_changes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entity text := TG_ARGV[0];
    source text := coalesce(nullif(current_setting('kitsu.change_source', true), ''), 'database');
    author uuid := nullif(current_setting('kitsu.changed_by', true), '');
    is_import bool := source = 'import';
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF is_import AND entity IN ('release', 'episode') THEN
            RETURN NULL;
        END IF;
        INSERT INTO catalogue_changes (source, user_id, anime_id, entity, entity_id, action, fields)
        SELECT source, author, kitsu_anime_id(entity, r), entity, kitsu_entity_id(entity, r), 'create',
               CASE WHEN is_import AND entity = 'anime' THEN '{}' ELSE kitsu_difference('{}', kitsu_fields(r)) END
        FROM (SELECT to_jsonb(n) FROM new_rows n) rows(r)
        WHERE NOT (is_import AND entity = 'external_id' AND EXISTS (
            SELECT FROM catalogue_changes c
            WHERE c.anime_id = (r->>'anime_id')::uuid AND c.entity = 'anime' AND c.action = 'create'
              AND c.change_set = pg_current_xact_id()::text::bigint AND c.made_at = now()
        ));
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO catalogue_changes (source, user_id, anime_id, entity, entity_id, action, fields)
        SELECT source, author, kitsu_anime_id(entity, r), entity, kitsu_entity_id(entity, r), 'delete',
               kitsu_difference(
                   kitsu_fields(r) || jsonb_strip_nulls(jsonb_build_object('edited_fields', r->'edited_fields')), '{}'
               )
        FROM (SELECT to_jsonb(o) FROM old_rows o) rows(r);
    ELSE
        INSERT INTO catalogue_changes (source, user_id, anime_id, entity, entity_id, action, fields)
        SELECT source, author, anime.id, entity, key, 'update', fields
        FROM (SELECT to_jsonb(n) AS after, kitsu_entity_id(entity, to_jsonb(n)) AS key FROM new_rows n) new
        JOIN (SELECT to_jsonb(o) AS before, kitsu_entity_id(entity, to_jsonb(o)) AS key FROM old_rows o) old
             USING (key),
             kitsu_difference(kitsu_fields(before), kitsu_fields(after)) fields,
             -- What moves to another anime is in the history of both.
             LATERAL (SELECT kitsu_anime_id(entity, before) UNION SELECT kitsu_anime_id(entity, after)) anime(id)
        WHERE fields <> '{}';
    END IF;
    RETURN NULL;
END
$$
"""
ENTITY_ID = """
CREATE FUNCTION kitsu_entity_id(entity text, record jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE entity WHEN 'external_id' THEN (record->>'provider') || ':' || (record->>'external_id')
                   ELSE record->>'id' END
"""
# Null for an episode whose release is gone.
ANIME_ID = """
CREATE FUNCTION kitsu_anime_id(entity text, record jsonb) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF entity = 'anime' THEN
        RETURN record->>'id';
    ELSIF entity = 'episode' THEN
        RETURN (SELECT anime_id FROM releases WHERE id = (record->>'release_id')::uuid);
    END IF;
    RETURN record->>'anime_id';
END
$$
"""
MARK = """
CREATE FUNCTION kitsu_mark_edited_fields() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    source text := coalesce(current_setting('kitsu.change_source', true), '');
    before jsonb := '{"type": "UNKNOWN", "synonyms": [], "genres": [], "studios": []}';
BEGIN
    -- A deletion that is reverted restores the marks.
    IF source <> 'import' AND NOT (source = 'revert' AND TG_OP = 'INSERT') THEN
        IF TG_OP = 'UPDATE' THEN
            before := to_jsonb(OLD);
        END IF;
        NEW.edited_fields := ARRAY(
            SELECT unnest(NEW.edited_fields)
            UNION
            SELECT key FROM jsonb_each(to_jsonb(NEW))
            WHERE key = ANY (TG_ARGV) AND value <> coalesce(before->key, 'null')
            ORDER BY 1
        );
    END IF;
    RETURN NEW;
END
$$
"""
FUNCTIONS = (FIELDS, DIFFERENCE, ENTITY_ID, ANIME_ID, RECORD, MARK)
TRANSITIONS = {"INSERT": "NEW TABLE AS new_rows", "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows"}

# Until now an import took a field for edited if it did not have the value of the last import.
KNOWN_EDITS = """
UPDATE {table} SET edited_fields = edits.names FROM (
    SELECT r.id, array_agg(key ORDER BY key) AS names
    FROM {table} r LEFT JOIN catalogue_imports i ON {imported}, jsonb_each(to_jsonb(r))
    WHERE key = ANY (:fields) AND value <> coalesce(
        i.fields->key, CAST('{{"type": "UNKNOWN", "synonyms": [], "genres": [], "studios": []}}' AS jsonb)->key, 'null'
    )
    GROUP BY r.id
) edits
WHERE edits.id = {table}.id
"""
# Of episodes with one number in a release, the one that has a title stays, or the oldest.
DUPLICATES = """
CREATE TEMP TABLE duplicate_episodes ON COMMIT DROP AS
SELECT id, kept, release_id, number FROM (
    SELECT id, release_id, number, first_value(id) OVER (
        PARTITION BY release_id, number ORDER BY title IS NULL, created_at, id
    ) AS kept
    FROM episodes
) ranked
WHERE id <> kept
"""
# A viewer's history keeps the last view of an episode.
RESOLVE = (
    """
    DELETE FROM views USING (
        SELECT v.id, row_number() OVER (
            PARTITION BY v.user_id, coalesce(d.kept, v.episode_id) ORDER BY v.last_viewed_at DESC, v.id
        ) AS place
        FROM views v LEFT JOIN duplicate_episodes d ON d.id = v.episode_id
        WHERE coalesce(d.kept, v.episode_id) IN (SELECT kept FROM duplicate_episodes)
    ) ranked
    WHERE views.id = ranked.id AND ranked.place > 1
    """,
    "UPDATE views SET episode_id = d.kept FROM duplicate_episodes d WHERE d.id = views.episode_id",
    "DELETE FROM episodes USING duplicate_episodes d WHERE d.id = episodes.id",
)


def upgrade() -> None:
    op.drop_constraint("ck_users_role", "users")
    op.create_check_constraint("role", "users", "role IN ('user', 'editor', 'admin')")

    op.add_column("anime", _edited_fields())
    op.add_column("releases", _edited_fields())
    _mark("anime", "i.anime_id = r.id", IMPORTED)
    _mark("releases", "i.release_id = r.id", ("title", "year", "status"))

    _resolve_duplicates()
    op.create_unique_constraint("uq_episodes_release_id", "episodes", ["release_id", "number"])
    op.drop_index("ix_episodes_release_id", "episodes")
    op.add_column("episodes", sa.Column("airs_at", sa.DateTime(timezone=True)))

    op.create_table(
        "catalogue_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column(
            "change_set",
            sa.BigInteger(),
            server_default=sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
            nullable=False,
        ),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("anime_id", sa.Uuid()),
        sa.Column("entity", sa.String(16), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("fields", JSONB(), nullable=False),
    )
    op.create_index("ix_catalogue_changes_anime_id", "catalogue_changes", ["anime_id", sa.text("id DESC")])
    op.create_index(
        "ix_catalogue_changes_user_id",
        "catalogue_changes",
        ["user_id"],
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        "ix_catalogue_changes_removed_ids",
        "catalogue_changes",
        ["entity_id"],
        postgresql_where=sa.text("entity = 'external_id' AND action = 'delete'"),
    )
    op.create_index("ix_anime_edited", "anime", ["id"], postgresql_where=sa.text("cardinality(edited_fields) > 0"))
    for function in FUNCTIONS:
        op.get_bind().exec_driver_sql(function)
    for table, entity in ENTITIES.items():
        for event in ("INSERT", "UPDATE", "DELETE"):
            rows = TRANSITIONS.get(event, "OLD TABLE AS old_rows")
            op.execute(
                f"CREATE TRIGGER record_{event.lower()} AFTER {event} ON {table} REFERENCING {rows} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION kitsu_record_changes('{entity}')"
            )
    for table, fields in (("anime", IMPORTED), ("releases", ("title", "year", "status"))):
        names = ", ".join(f"'{name}'" for name in fields)
        op.execute(
            f"CREATE TRIGGER mark_edited_fields BEFORE INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION kitsu_mark_edited_fields({names})"
        )


def _edited_fields() -> sa.Column[list[str]]:
    return sa.Column("edited_fields", ARRAY(sa.Text()), server_default="{}", nullable=False)


def _mark(table: str, imported: str, fields: tuple[str, ...]) -> None:
    op.get_bind().execute(sa.text(KNOWN_EDITS.format(table=table, imported=imported)), {"fields": list(fields)})


def _resolve_duplicates() -> None:
    connection = op.get_bind()
    connection.execute(sa.text(DUPLICATES))
    counted = sa.text("SELECT count(*), count(DISTINCT release_id) FROM duplicate_episodes")
    episodes, releases = connection.execute(counted).one()
    if episodes:
        log.warning("duplicate episodes removed", episodes=episodes, releases=releases)
        for statement in RESOLVE:
            connection.execute(sa.text(statement))


def downgrade() -> None:
    for table in ("anime", "releases"):
        op.execute(f"DROP TRIGGER mark_edited_fields ON {table}")
    for table in ENTITIES:
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER record_{event} ON {table}")
    op.drop_table("catalogue_changes")
    signatures = (
        *("kitsu_mark_edited_fields()", "kitsu_record_changes()", "kitsu_anime_id(text, jsonb)"),
        *("kitsu_entity_id(text, jsonb)", "kitsu_difference(jsonb, jsonb)", "kitsu_fields(jsonb)"),
    )
    for signature in signatures:
        op.execute(f"DROP FUNCTION {signature}")
    op.drop_column("episodes", "airs_at")
    op.create_index("ix_episodes_release_id", "episodes", ["release_id", "number", "id"])
    op.drop_constraint("uq_episodes_release_id", "episodes")
    op.drop_column("releases", "edited_fields")
    op.drop_column("anime", "edited_fields")  # its index goes with it
    op.execute("UPDATE users SET role = 'user' WHERE role = 'editor'")
    op.drop_constraint("ck_users_role", "users")
    op.create_check_constraint("role", "users", "role IN ('user', 'admin')")
