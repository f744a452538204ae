"""The tables of the catalogue: anime with their external ids, releases, episodes, and what imports last wrote."""

from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import Boolean, Computed, Double, ForeignKey, Index, String, Text, Uuid, false, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CreatedAt, Id, UpdatedAt


class Anime(DefaultBase):
    """A work of the catalogue."""

    __tablename__ = "anime"

    id: Mapped[Id]
    title: Mapped[str] = mapped_column(String(255), index=True)
    title_original: Mapped[str | None] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    year: Mapped[int | None]
    status: Mapped[str | None] = mapped_column(String(64))
    """`FINISHED`, `ONGOING`, `UPCOMING` or `UNKNOWN`; a database from before Kitsu may hold other words."""
    created_at: Mapped[CreatedAt]

    type: Mapped[str] = mapped_column(String(16), server_default="UNKNOWN")
    season: Mapped[str | None] = mapped_column(String(16))
    episode_count: Mapped[int | None]
    """None: unknown."""
    duration_seconds: Mapped[int | None]
    """Of one episode."""
    score: Mapped[float | None] = mapped_column(Double)
    """1 to 10."""
    poster: Mapped[str | None] = mapped_column(Text)
    thumbnail: Mapped[str | None] = mapped_column(Text)
    synonyms: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    genres: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    studios: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    updated_at: Mapped[UpdatedAt]

    title_key: Mapped[str] = mapped_column(Text(collation="C"), Computed("kitsu_fold(title)", persisted=True))
    """The title without case and accents: what `sort=title` orders by."""
    genre_keys: Mapped[list[str]] = mapped_column(ARRAY(Text), Computed("kitsu_lower(genres)", persisted=True))
    """The genres in lower case: what `genres=` looks in."""
    search_text: Mapped[str] = mapped_column(
        Text(collation="C"), Computed("kitsu_search_text(title, title_original, synonyms)", persisted=True)
    )
    """All titles without case and accents, one a line: what a search looks in."""


# Every order that the API offers, and every filter in the default order.
_NEWEST = (Anime.created_at.desc(), Anime.id.desc())
Index("ix_anime_created_at", *_NEWEST)
Index("ix_anime_title_key", Anime.title_key, Anime.id)
Index("ix_anime_year", Anime.year, Anime.id)
Index("ix_anime_year_desc", Anime.year.desc().nulls_last(), Anime.id.desc())
Index("ix_anime_score", Anime.score, Anime.id)
Index("ix_anime_score_desc", Anime.score.desc().nulls_last(), Anime.id.desc())
Index("ix_anime_type", Anime.type, *_NEWEST)
Index("ix_anime_status", func.lower(Anime.status), *_NEWEST)
Index("ix_anime_season", Anime.season, *_NEWEST)
Index("ix_anime_year_newest", Anime.year, *_NEWEST)
Index("ix_anime_genre_keys", Anime.genre_keys, postgresql_using="gin")
Index("ix_anime_search_text", Anime.search_text, postgresql_using="gin", postgresql_ops={"search_text": "gin_trgm_ops"})


class ExternalId(DefaultBase):
    """What another catalogue calls an anime. Two entries that share one are the same anime."""

    __tablename__ = "external_ids"

    provider: Mapped[str] = mapped_column(String(255), primary_key=True)
    """`myanimelist`, `anilist` …; the host for a site that Kitsu has no name for."""
    external_id: Mapped[str] = mapped_column(Text, primary_key=True)
    """The provider's own id; the whole URL for a site that Kitsu has no name for."""
    anime_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), index=True)


class Release(DefaultBase):
    """An edition of an anime."""

    __tablename__ = "releases"

    id: Mapped[Id]
    anime_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(255))
    year: Mapped[int | None]
    status: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]


Index("ix_releases_created_at", Release.created_at.desc(), Release.id.desc())


class Episode(DefaultBase):
    """An episode of a release."""

    __tablename__ = "episodes"

    id: Mapped[Id]
    release_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("releases.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[CreatedAt]


Index("ix_episodes_release_id", Episode.release_id, Episode.number, Episode.id)


class CatalogueImport(DefaultBase):
    """The values that an import last brought for an anime, and the release that it made."""

    __tablename__ = "catalogue_imports"

    anime_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True)
    release_id: Mapped[UUID | None] = mapped_column(Uuid(), ForeignKey("releases.id", ondelete="SET NULL"), index=True)
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Column name of `anime` to value."""
    sample: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """It came with the sample catalogue; a real import takes it over."""
