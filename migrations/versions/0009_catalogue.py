"""What the catalogue says of an anime beyond its title, the ids it has elsewhere, and search without case and accents.

Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"

NEWEST = (sa.text("created_at DESC"), sa.text("id DESC"))

# Immutable though unaccent() is not declared so: the dictionary is named, and a changed one would be a new PostgreSQL.
# Bodies in SQL-standard form are bound when they are made, whatever the search path of a later restore is.
FUNCTIONS = (
    """
    CREATE FUNCTION kitsu_fold(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(unaccent('unaccent'::regdictionary, normalize(value, NFKC)) {collation})
    """,
    """
    CREATE FUNCTION kitsu_lower(texts text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT lower(value {collation}) FROM unnest(texts) AS value)
    """,
    """
    CREATE FUNCTION kitsu_search_text(title text, title_original text, synonyms text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN kitsu_fold(concat_ws(E'\\n', title, title_original, array_to_string(synonyms, E'\\n')))
    """,
)


def _collation() -> str:
    """A collation that knows letters beyond ASCII: the database's own, or the best there is in one of locale C."""
    connection = op.get_bind()
    if connection.scalar(sa.text("SELECT lower('É') = 'é'")):
        return ""
    known = connection.scalars(
        sa.text("SELECT collname FROM pg_collation WHERE collname IN ('pg_c_utf8', 'und-x-icu', 'C.utf8')")
    ).all()
    return next((f'COLLATE "{name}"' for name in ("pg_c_utf8", "und-x-icu", "C.utf8") if name in known), "")


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for function in FUNCTIONS:
        op.execute(function.format(collation=_collation()))

    texts = sa.ARRAY(sa.Text())
    for column in (
        sa.Column("type", sa.String(16), server_default="UNKNOWN", nullable=False),
        sa.Column("season", sa.String(16)),
        sa.Column("episode_count", sa.Integer()),
        sa.Column("duration_seconds", sa.Integer()),
        sa.Column("score", sa.Double()),
        sa.Column("poster", sa.Text()),
        sa.Column("thumbnail", sa.Text()),
        sa.Column("synonyms", texts, server_default="{}", nullable=False),
        sa.Column("genres", texts, server_default="{}", nullable=False),
        sa.Column("studios", texts, server_default="{}", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    ):
        op.add_column("anime", column)
    # An anime that was there before was last changed when it was made, as far as anyone knows.
    op.execute("UPDATE anime SET updated_at = created_at")
    op.add_column(
        "anime",
        sa.Column(
            "title_key", sa.Text(collation="C"), sa.Computed("kitsu_fold(title)", persisted=True), nullable=False
        ),
    )
    op.add_column(
        "anime", sa.Column("genre_keys", texts, sa.Computed("kitsu_lower(genres)", persisted=True), nullable=False)
    )
    op.add_column(
        "anime",
        sa.Column(
            "search_text",
            sa.Text(collation="C"),
            sa.Computed("kitsu_search_text(title, title_original, synonyms)", persisted=True),
            nullable=False,
        ),
    )

    op.create_index("ix_anime_created_at", "anime", NEWEST)
    op.create_index("ix_anime_title_key", "anime", ["title_key", "id"])
    for name in ("year", "score"):
        op.create_index(f"ix_anime_{name}", "anime", [name, "id"])
        op.create_index(f"ix_anime_{name}_desc", "anime", [sa.text(f"{name} DESC NULLS LAST"), sa.text("id DESC")])
    op.create_index("ix_anime_type", "anime", ["type", *NEWEST])
    op.create_index("ix_anime_status", "anime", [sa.text("lower(status)"), *NEWEST])
    op.create_index("ix_anime_season", "anime", ["season", *NEWEST])
    op.create_index("ix_anime_year_newest", "anime", ["year", *NEWEST])
    op.create_index("ix_anime_genre_keys", "anime", ["genre_keys"], postgresql_using="gin")
    op.create_index(
        "ix_anime_search_text",
        "anime",
        ["search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
    op.create_index("ix_releases_created_at", "releases", NEWEST)
    op.drop_index("ix_episodes_release_id", "episodes")
    op.create_index("ix_episodes_release_id", "episodes", ["release_id", "number", "id"])

    op.create_table(
        "external_ids",
        sa.Column("provider", sa.String(255), primary_key=True),
        sa.Column("external_id", sa.Text(), primary_key=True),
        sa.Column("anime_id", sa.Uuid(), sa.ForeignKey("anime.id", ondelete="CASCADE"), nullable=False, index=True),
    )
    op.create_table(
        "catalogue_imports",
        sa.Column("anime_id", sa.Uuid(), sa.ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("release_id", sa.Uuid(), sa.ForeignKey("releases.id", ondelete="SET NULL"), index=True),
        sa.Column("fields", JSONB(), nullable=False),
        sa.Column("sample", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("catalogue_imports")
    op.drop_table("external_ids")
    op.drop_index("ix_episodes_release_id", "episodes")
    op.create_index("ix_episodes_release_id", "episodes", ["release_id"])
    op.drop_index("ix_releases_created_at", "releases")
    op.drop_index("ix_anime_created_at", "anime")
    for column in (
        "search_text",
        "genre_keys",
        "title_key",
        "updated_at",
        "studios",
        "genres",
        "synonyms",
        "thumbnail",
        "poster",
        "score",
        "duration_seconds",
        "episode_count",
        "season",
        "type",
    ):
        op.drop_column("anime", column)  # its indexes go with it
    op.drop_index("ix_anime_status", "anime")
    op.drop_index("ix_anime_year", "anime")
    op.drop_index("ix_anime_year_desc", "anime")
    op.drop_index("ix_anime_year_newest", "anime")
    op.execute("DROP FUNCTION kitsu_search_text(text, text, text[])")
    op.execute("DROP FUNCTION kitsu_lower(text[])")
    op.execute("DROP FUNCTION kitsu_fold(text)")
    # The extensions stay: another program of the same database may use them by now.
