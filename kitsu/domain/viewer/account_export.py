"""All data that is stored about a user, as one JSON object."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing
from kitsu.domain.viewer import collections, favorites, library, views, watch_progress
from kitsu.domain.viewer.rows import USER_ID, export_json, export_listing


class ExportedSession(msgspec.Struct):
    """A device that is or was signed in."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoke_reason: str | None
    user_agent: str | None
    ip: str | None


class ExportedItem(msgspec.Struct):
    """An anime in a collection."""

    collection_id: UUID
    anime_id: UUID
    title: str
    position: int
    added_at: datetime


_session, _item, _collection, _anime = models.AuthSession, models.CollectionItem, models.Collection, models.Anime

_SESSIONS: Rows = select(*columns_of(ExportedSession, _session)).where(_session.user_id == USER_ID)
_ITEMS: Rows = (
    select(*columns_of(ExportedItem, _item, title=_anime.title))
    .join(_collection, _collection.id == _item.collection_id)
    .join(_anime, _anime.id == _item.anime_id)
    .where(_collection.user_id == USER_ID)
)
_LISTS: dict[str, Listing[Any]] = {
    "sessions": export_listing(ExportedSession, _SESSIONS, _session.id),
    "favorites": export_listing(favorites.Favorite, favorites.ROWS, models.Favorite.id),
    "watch_progress": export_listing(watch_progress.WatchProgress, watch_progress.ROWS, models.WatchProgress.id),
    "views": export_listing(views.View, views.ROWS, models.View.id),
    "library": export_listing(library.LibraryEntry, library.ROWS, models.LibraryEntry.id),
    "collections": export_listing(collections.Collection, collections.ROWS, _collection.id),
    "collection_items": export_listing(ExportedItem, _ITEMS, _item.collection_id, _item.position, _item.anime_id),
}


class AccountExporter:
    def __init__(self, runner: StatementRunner, users: UserReader) -> None:
        self._runner = runner
        self._users = users

    async def pieces(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield the JSON in pieces."""
        user = await self._users.detail(user_id)
        yield msgspec.json.encode({"exported_at": datetime.now(UTC), "user": user})[:-1]
        for name, listing in _LISTS.items():
            yield b',"%s":' % name.encode()
            async for piece in export_json(self._runner, listing, user_id):
                yield piece
        yield b"}"
