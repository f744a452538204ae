"""All that is stored about somebody, as one JSON object, made piece by piece however much it is."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.viewer import collections, favorites, library, views, watch_progress

CHUNK = 500
"""Rows read at once. No connection is held while the client takes them."""


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


class Section(NamedTuple):
    """A list of the export: the Struct of a row, its rows, and the column by which it continues."""

    kind: type[msgspec.Struct]
    rows: Rows
    key: Any


_user_id: Any = bindparam("user_id", type_=Uuid)
_session, _item, _collection, _anime = models.AuthSession, models.CollectionItem, models.Collection, models.Anime

_SESSIONS: Rows = select(*columns_of(ExportedSession, _session)).where(_session.user_id == _user_id)


def _statement(section: Section) -> Rows:
    after: Any = bindparam("after", type_=Uuid)
    return (
        section.rows.add_columns(section.key.label("key")).where(section.key > after).order_by(section.key).limit(CHUNK)
    )


_SECTIONS = {
    "sessions": Section(ExportedSession, _SESSIONS, _session.id),
    "favorites": Section(favorites.Favorite, favorites.ROWS, models.Favorite.id),
    "watch_progress": Section(watch_progress.WatchProgress, watch_progress.ROWS, models.WatchProgress.id),
    "views": Section(views.View, views.ROWS, models.View.id),
    "library": Section(library.LibraryEntry, library.ROWS, models.LibraryEntry.id),
    "collections": Section(collections.Collection, collections.ROWS, _collection.id),
}
_STATEMENTS = {name: _statement(section) for name, section in _SECTIONS.items()}
_ITEMS = (
    select(_item.collection_id, _item.anime_id, _anime.title, _item.position, _item.added_at)
    .join(_collection, _collection.id == _item.collection_id)
    .join(_anime, _anime.id == _item.anime_id)
    .where(_collection.user_id == _user_id)
    .order_by(_item.collection_id, _item.position)
)


class AccountExporter:
    """Writes accounts out."""

    def __init__(self, runner: StatementRunner, users: UserReader) -> None:
        self._runner = runner
        self._users = users

    async def pieces(self, user_id: UUID) -> AsyncIterator[bytes]:
        """The JSON, piece by piece."""
        user = await self._users.detail(user_id)
        head = msgspec.json.encode({"exported_at": datetime.now(UTC), "user": user})
        yield head[:-1]
        for name, section in _SECTIONS.items():
            struct_of = mapper(section.kind, section.rows)
            yield b',"%s":[' % name.encode()
            comma = b""
            after = UUID(int=0)
            while rows := await self._runner.rows(_STATEMENTS[name], {"user_id": user_id, "after": after}):
                yield comma + msgspec.json.encode([struct_of(row) for row in rows])[1:-1]
                comma, after = b",", rows[-1]["key"]
            yield b"]"
        items = [ExportedItem(*row) for row in await self._runner.rows(_ITEMS, {"user_id": user_id})]
        yield b',"collection_items":' + msgspec.json.encode(items) + b"}"
