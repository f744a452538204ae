"""Favourites: the anime that a viewer likes."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import or_

from kitsu.db import models
from kitsu.domain.catalogue.anime import AnimeListItem, current_id, get_list_item
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import described
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.rows import OwnListReader, newest_first, rows_with_anime


class Favorite(msgspec.Struct):
    """An anime that the viewer likes."""

    id: UUID
    anime_id: UUID
    created_at: Annotated[datetime, described("When the anime was added.")]
    anime: AnimeListItem


_favorite = models.Favorite

ROWS = rows_with_anime(Favorite, _favorite)


class FavoriteReader(OwnListReader[Favorite]):
    listing = newest_first(Favorite, ROWS, _favorite.created_at)
    changes = ChangesListing(Favorite, ROWS, _favorite.updated_at)


class FavoriteService(SQLAlchemyAsyncRepositoryService[models.Favorite]):
    class Repository(SQLAlchemyAsyncRepository[models.Favorite]):
        model_type = models.Favorite

    repository_type = Repository

    async def add(self, user_id: UUID, anime_id: UUID) -> Favorite:
        """Add an anime. Raises NotFound, and Conflict when it is a favourite already."""
        anime = await get_list_item(self.repository.session, anime_id)
        with viewer_constraints():
            new = _favorite(user_id=user_id, anime_id=anime.id)
            row: Any = await self.create(new, auto_commit=True, auto_refresh=False)
        return Favorite(row.id, row.anime_id, row.created_at, anime)

    async def remove(self, user_id: UUID, wanted: UUID) -> None:
        """Remove a favourite, if there is one with this id or of the anime with this id."""
        is_wanted = or_(_favorite.anime_id == current_id(wanted), _favorite.id == wanted)
        await self.delete_where(_favorite.user_id == user_id, is_wanted, sanity_check=False, auto_commit=True)
