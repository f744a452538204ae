"""Favourites: the shape that goes over the wire, and how they are listed, added and removed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, delete, select, true
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, list_item
from kitsu.domain.changes import Changes, ChangesReader, ChangesRequest, changes_statement
from kitsu.domain.constraints import translate_foreign_key_errors
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import Conflict, NotFound


class Favorite(msgspec.Struct):
    """An anime that the viewer likes."""

    id: UUID
    anime_id: UUID
    created_at: datetime
    anime: AnimeListItem


_favorite, _anime = models.Favorite, models.Anime
_user_id: Any = bindparam("user_id", type_=Uuid)
_anime_id: Any = bindparam("anime_id", type_=Uuid)

OWN = (
    select(_favorite.id, _favorite.anime_id, _favorite.created_at, *LIST_COLUMNS)
    .join(_anime, _anime.id == _favorite.anime_id)
    .where(_favorite.user_id == _user_id)
)
LISTING = Listing(
    OWN,
    descending(_favorite.created_at),
    descending(_favorite.id),
    counted=select(_favorite.id).where(_favorite.user_id == _user_id),
)
_CHANGES = changes_statement(OWN, _favorite.created_at, _favorite.id)

_wanted = select(*LIST_COLUMNS).where(_anime.id == _anime_id).cte("wanted")
_added = (
    insert(_favorite)
    .from_select(["id", "user_id", "anime_id"], select(bindparam("id", type_=Uuid), _user_id, _wanted.c.id))
    .on_conflict_do_nothing(index_elements=[_favorite.user_id, _favorite.anime_id])
    .returning(_favorite.id, _favorite.anime_id, _favorite.created_at)
    .cte("added")
)
ADD = select(*_added.c, *_wanted.c).select_from(_wanted.outerjoin(_added, true()))
_REMOVE = delete(_favorite).where(_favorite.user_id == _user_id, _favorite.anime_id == _anime_id)


class FavoriteService:
    """A viewer's favourites."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner
        self._changes = ChangesReader(runner)

    async def page(self, user_id: UUID, request: PageRequest) -> Page[Favorite]:
        """The favourites, newest first."""
        return await LISTING.page(self._runner, {"user_id": user_id}, request, favorite_of)

    async def changes(self, user_id: UUID, request: ChangesRequest) -> Changes[Favorite]:
        """What was added and removed since a time."""
        return await self._changes.read(user_id, request, _favorite.__tablename__, _CHANGES, favorite_of)

    async def add(self, user_id: UUID, anime_id: UUID) -> Favorite:
        """Add an anime. Raises NotFound, and Conflict when it is one already."""
        with translate_foreign_key_errors():
            row = await self._runner.write(ADD, {"id": uuid7(), "user_id": user_id, "anime_id": anime_id})
        if row is None:
            raise NotFound("Anime not found")
        if row[0] is None:
            raise Conflict("Favorite already exists")
        return favorite_of(row)

    async def remove(self, user_id: UUID, anime_id: UUID) -> None:
        """Remove an anime, if it is one."""
        await self._runner.change(_REMOVE, {"user_id": user_id, "anime_id": anime_id})


def favorite_of(row: Sequence[Any]) -> Favorite:
    """The shape of a row of `OWN`."""
    return Favorite(row[0], row[1], row[2], list_item(row[3:]))
