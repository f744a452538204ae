"""The tables of the catalogue: anime with their external ids, releases, episodes, and the last imported values."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    BigInteger,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    UniqueConstraint,
    and_,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import AnimeRef, CurrentTimestamp, Entity, Id, Timestamp

EditedFields = Annotated[list[str], mapped_column(ARRAY(Text), server_default="{}")]
"""Columns that no import overwrites. A trigger adds those that anything else changes."""


class Anime(Entity):
    __tablename__ = "anime"

    title: Mapped[str] = mapped_column(String(255), index=True)
    title_original: Mapped[str | None] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    year: Mapped[int | None]
    status: Mapped[str | None] = mapped_column(String(64))
    """`FINISHED`, `ONGOING`, `UPCOMING` or `UNKNOWN`; a database older than Kitsu may contain other values."""
    type: Mapped[str] = mapped_column(String(16), server_default="UNKNOWN")
    season: Mapped[str | None] = mapped_column(String(16))
    episode_count: Mapped[int | None]
    duration_seconds: Mapped[int | None]  # of one episode
    score: Mapped[float | None] = mapped_column(Double)  # 1 to 10
    poster: Mapped[str | None] = mapped_column(Text)
    thumbnail: Mapped[str | None] = mapped_column(Text)
    synonyms: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    genres: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    studios: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    updated_at: Mapped[CurrentTimestamp] = mapped_column(onupdate=func.now())
    edited_fields: Mapped[EditedFields]

    title_key: Mapped[str] = mapped_column(Text(collation="C"), Computed("kitsu_fold(title)", persisted=True))
    """The title without case and accents, for `sort=title`."""
    genre_keys: Mapped[list[str]] = mapped_column(ARRAY(Text), Computed("kitsu_lower(genres)", persisted=True))
    """The genres in lower case, for `genres=`."""


class AnimeTitle(DefaultBase):
    """A title of an anime, for searches. Triggers write the rows."""

    __tablename__ = "anime_titles"

    anime_id: Mapped[UUID] = mapped_column(ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """0 is `title`, 1 `title_original`, and the synonyms follow."""
    title: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text(collation="C"))
    """The words that `kitsu_search_key` makes of the title, each between blanks."""
    packed: Mapped[str] = mapped_column(Text(collation="C"))
    """The first characters of the same, without blanks."""
    words: Mapped[str] = mapped_column(TSVECTOR)
    """The words, and of kana and kanji each pair of letters."""


class TitleWord(DefaultBase):
    """A word of any title, for searches with typing errors. Words of former titles stay."""

    __tablename__ = "title_words"

    word: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)


class ExternalId(DefaultBase):
    """The id of an anime in another catalogue. Imported entries that share one are the same anime."""

    __tablename__ = "external_ids"

    provider: Mapped[str] = mapped_column(String(255), primary_key=True)
    """`myanimelist`, `anilist` …, or the host of a site that Kitsu does not know."""
    external_id: Mapped[str] = mapped_column(Text, primary_key=True)
    """The provider's id, or the whole URL of a site that Kitsu does not know."""
    anime_id: Mapped[AnimeRef]


class Release(Entity):
    __tablename__ = "releases"

    anime_id: Mapped[AnimeRef]
    title: Mapped[str] = mapped_column(String(255))
    year: Mapped[int | None]
    status: Mapped[str | None] = mapped_column(String(64))
    edited_fields: Mapped[EditedFields]


class Episode(Entity):
    __tablename__ = "episodes"
    __table_args__ = (UniqueConstraint("release_id", "number", name="uq_episodes_release_id"),)

    release_id: Mapped[UUID] = mapped_column(ForeignKey("releases.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str | None] = mapped_column(String(255))
    airs_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    imported_airs_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """The value of the last import. Where an editor has set another one, imports leave it alone."""


class CatalogueImport(DefaultBase):
    """The values of an anime in its last import, and the release that the import created."""

    __tablename__ = "catalogue_imports"

    anime_id: Mapped[UUID] = mapped_column(ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True)
    release_id: Mapped[UUID | None] = mapped_column(ForeignKey("releases.id", ondelete="SET NULL"), index=True)
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)  # column name of `anime` to value
    sample: Mapped[bool] = mapped_column(server_default=false())
    """From the sample catalogue; another import replaces the values."""


class CatalogueChange(DefaultBase):
    """A row of the catalogue that was created, updated or deleted. Triggers write it in the same transaction."""

    __tablename__ = "catalogue_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    made_at: Mapped[CurrentTimestamp]
    change_set: Mapped[int] = mapped_column(
        BigInteger, server_default=text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
    )
    """The transaction: all its changes belong together. After a restore, another one may have the same number."""
    source: Mapped[str] = mapped_column(String(16))
    """`edit`, `revert`, `merge`, `undo`, `split`, `import`, or `database` for another program."""
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    anime_id: Mapped[Id | None]
    """Null for an episode whose release was deleted with it."""
    entity: Mapped[str] = mapped_column(String(16))
    """`anime`, `release`, `episode` or `external_id`."""
    entity_id: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(16))
    """`create`, `update` or `delete`."""
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Column to its values `before` and `after`."""


class AnimeMerge(DefaultBase):
    """A merge of an anime into another one. Until it is undone, the old id stands for the other anime."""

    __tablename__ = "anime_merges"

    id: Mapped[Id] = mapped_column(primary_key=True)
    merged_at: Mapped[CurrentTimestamp]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    source: Mapped[str] = mapped_column(String(16))
    """`merge`, or `import`."""
    from_id: Mapped[Id]
    from_title: Mapped[str] = mapped_column(String(255))
    into_id: Mapped[Id]
    into_title: Mapped[str] = mapped_column(String(255))
    current_id: Mapped[Id]
    """What the old id stands for now: `into_id`, or what that became."""
    undone_at: Mapped[Timestamp | None]
    moved: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The ids of `releases`, the `external_ids` and the `titles` that were moved."""
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)


class MergedRow(DefaultBase):
    """A row before a merge, for an undo."""

    __tablename__ = "merged_rows"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    merge_id: Mapped[UUID] = mapped_column(ForeignKey("anime_merges.id", ondelete="CASCADE"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32))  # the name of its table
    old_row: Mapped[dict[str, Any]] = mapped_column(JSONB)
    into_row: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The viewer's row of the other anime, if there was one."""
    result_at: Mapped[CurrentTimestamp]
    """The `updated_at` of the row that the merge left."""


class ImportReview(DefaultBase):
    """Ids that are with another anime than an imported file says, for an editor to decide."""

    __tablename__ = "import_reviews"

    id: Mapped[Id] = mapped_column(primary_key=True)
    created_at: Mapped[CurrentTimestamp]
    state: Mapped[str] = mapped_column(String(16), server_default="open")
    """`open`, `applied`, `kept`, or `closed` when a later file no longer differs."""
    kind: Mapped[str] = mapped_column(String(16))
    """`move`, `split` or `merge`."""
    key: Mapped[str] = mapped_column(Text)  # the same for the same difference of another file
    from_id: Mapped[Id]
    from_title: Mapped[str] = mapped_column(String(255))
    into_id: Mapped[Id | None]
    entry: Mapped[dict[str, Any]] = mapped_column(JSONB)  # column name of `anime` to value
    external_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    reason: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[Timestamp | None]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


# Every sort order of the API, and every filter in the default order.
_NEWEST = (Anime.created_at.desc(), Anime.id.desc())
Index("ix_anime_created_at", *_NEWEST)
Index("ix_anime_title_key", Anime.title_key, Anime.id)
Index("ix_anime_year", Anime.year, Anime.id)
Index("ix_anime_year_desc", Anime.year.desc().nulls_last(), Anime.id.desc())
Index("ix_anime_score", Anime.score, Anime.id)
Index("ix_anime_score_desc", Anime.score.desc().nulls_last(), Anime.id.desc())
Index("ix_anime_type", Anime.type, *_NEWEST)
Index("ix_anime_status", func.lower(Anime.status), *_NEWEST)
Index("ix_anime_status_score", func.lower(Anime.status), Anime.score, Anime.id)
Index("ix_anime_status_score_desc", func.lower(Anime.status), Anime.score.desc().nulls_last(), Anime.id.desc())
Index("ix_anime_season", Anime.season, *_NEWEST)
Index("ix_anime_year_newest", Anime.year, *_NEWEST)
Index("ix_anime_genre_keys", Anime.genre_keys, postgresql_using="gin")
Index("ix_anime_titles_packed", AnimeTitle.packed)
Index("ix_anime_titles_start", func.left(AnimeTitle.packed, 2), func.length(AnimeTitle.packed))
Index("ix_anime_titles_key", AnimeTitle.key, postgresql_using="gin", postgresql_ops={"key": "gin_trgm_ops"})
Index("ix_anime_titles_words", AnimeTitle.words, postgresql_using="gin")
Index("ix_title_words_word", TitleWord.word, postgresql_using="gin", postgresql_ops={"word": "gin_trgm_ops"})
Index("ix_releases_created_at", Release.created_at.desc(), Release.id.desc())
Index("ix_episodes_airs_at", Episode.airs_at, postgresql_where=Episode.airs_at.is_not(None))
Index("ix_anime_edited", Anime.id, postgresql_where=text("cardinality(edited_fields) > 0"))
Index("ix_catalogue_changes_anime_id", CatalogueChange.anime_id, CatalogueChange.id.desc())
_is_removed_id = and_(CatalogueChange.entity == "external_id", CatalogueChange.action == "delete")
Index("ix_catalogue_changes_removed_ids", CatalogueChange.entity_id, postgresql_where=_is_removed_id)
Index("ix_catalogue_changes_source", CatalogueChange.source, CatalogueChange.id.desc())
Index(
    "ix_catalogue_changes_user_id",
    CatalogueChange.user_id,
    CatalogueChange.id.desc(),
    postgresql_where=CatalogueChange.user_id.is_not(None),
)
_is_current = AnimeMerge.undone_at.is_(None)
Index("ix_anime_merges_from_id", AnimeMerge.from_id, unique=True, postgresql_where=_is_current)
Index("ix_anime_merges_current_id", AnimeMerge.current_id, postgresql_where=_is_current)
Index("ix_anime_merges_into_id", AnimeMerge.into_id)
Index("ix_anime_merges_newest", AnimeMerge.merged_at.desc(), AnimeMerge.id.desc())
Index("ix_anime_merges_user_id", AnimeMerge.user_id, postgresql_where=AnimeMerge.user_id.is_not(None))
Index("ix_merged_rows_merge_id", MergedRow.merge_id, MergedRow.kind, MergedRow.user_id)
Index("ix_import_reviews_key", func.md5(ImportReview.key), unique=True)
Index("ix_import_reviews_state", ImportReview.state, ImportReview.created_at, ImportReview.id)
Index("ix_import_reviews_user_id", ImportReview.user_id, postgresql_where=ImportReview.user_id.is_not(None))
