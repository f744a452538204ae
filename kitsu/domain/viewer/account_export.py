"""All that is stored about somebody, as one JSON object, made piece by piece however much it is."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Integer, Uuid, bindparam, select, tuple_

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.viewer import collections, favorites, library, views, watch_progress

CHUNK = 50
"""Rows read at once. A client that reads slowly keeps a chunk of them in memory, and no connection."""
MIN_POSITION = -(1 << 31)


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
_STRUCT_OF = {name: mapper(section.kind, section.rows) for name, section in _SECTIONS.items()}
_after: Any = tuple_(
    bindparam("collection_id", type_=Uuid), bindparam("position", type_=Integer), bindparam("anime_id", type_=Uuid)
)
_ITEMS: Rows = (
    select(*columns_of(ExportedItem, _item, title=_anime.title))
    .join(_collection, _collection.id == _item.collection_id)
    .join(_anime, _anime.id == _item.anime_id)
    .where(_collection.user_id == _user_id)
    .where(tuple_(_item.collection_id, _item.position, _item.anime_id) > _after)
    .order_by(_item.collection_id, _item.position, _item.anime_id)
    .limit(CHUNK)
)
_item_of = mapper(ExportedItem, _ITEMS)


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
        for name, statement in _STATEMENTS.items():
            struct_of = _STRUCT_OF[name]
            yield b',"%s":[' % name.encode()
            comma = b""
            after = UUID(int=0)
            while rows := await self._runner.rows(statement, {"user_id": user_id, "after": after}):
                piece = comma + msgspec.json.encode([struct_of(row) for row in rows])[1:-1]
                comma, after = b",", rows[-1]["key"]
                del rows
                yield piece
            yield b"]"
        yield b',"collection_items":['
        comma = b""
        last: dict[str, Any] = {"collection_id": UUID(int=0), "position": MIN_POSITION, "anime_id": UUID(int=0)}
        while rows := await self._runner.rows(_ITEMS, {"user_id": user_id, **last}):
            items = [_item_of(row) for row in rows]
            yield comma + msgspec.json.encode(items)[1:-1]
            comma, last = b",", {name: getattr(items[-1], name) for name in last}
        yield b"]}"
