"""A favourite: an anime that a user likes."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from kitsu.db.columns import AnimeRef, CreatedAt, Id, UserRef


class Favorite(DefaultBase):
    """An anime on a user's list of favourites. A row never changes; one that was removed is in `tombstones`."""

    __tablename__ = "favorites"
    __table_args__ = (UniqueConstraint("user_id", "anime_id", name="uq_favorites_user_id"),)

    id: Mapped[Id]
    user_id: Mapped[UserRef]
    anime_id: Mapped[AnimeRef]
    created_at: Mapped[CreatedAt]


Index("ix_favorites_newest", Favorite.user_id, Favorite.created_at.desc(), Favorite.id.desc())
