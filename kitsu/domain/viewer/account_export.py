"""All that is stored about somebody, as one JSON object, made piece by piece however much it is."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Integer, Uuid, bindparam, select, tuple_

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserService
from kitsu.domain.pagination import Rows
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
    """A list of the export: its rows, the column that tells where it goes on, and what becomes of a row."""

    rows: Rows
    key: Any
    shape: Callable[[Sequence[Any]], msgspec.Struct]


_user_id: Any = bindparam("user_id", type_=Uuid)
_session, _item, _collection, _anime = models.AuthSession, models.CollectionItem, models.Collection, models.Anime

_SESSIONS: Rows = select(*(getattr(_session, name) for name in ExportedSession.__struct_fields__)).where(
    _session.user_id == _user_id
)


def _statement(section: Section) -> Rows:
    after: Any = bindparam("after", type_=Uuid)
    return section.rows.add_columns(section.key).where(section.key > after).order_by(section.key).limit(CHUNK)


_SECTIONS = {
    "sessions": Section(_SESSIONS, _session.id, lambda row: ExportedSession(*row)),
    "favorites": Section(favorites.OWN, models.Favorite.id, favorites.favorite_of),
    "watch_progress": Section(watch_progress.OWN, models.WatchProgress.id, watch_progress.progress_of),
    "views": Section(views.OWN, models.View.id, views.view_of),
    "library": Section(library.OWN, models.LibraryEntry.id, library.entry_of),
    "collections": Section(collections.OWN, _collection.id, lambda row: collections.Collection(*row)),
}
_STATEMENTS = {name: _statement(section) for name, section in _SECTIONS.items()}
_after: Any = tuple_(
    bindparam("collection_id", type_=Uuid), bindparam("position", type_=Integer), bindparam("anime_id", type_=Uuid)
)
_ITEMS = (
    select(_item.collection_id, _item.anime_id, _anime.title, _item.position, _item.added_at)
    .join(_collection, _collection.id == _item.collection_id)
    .join(_anime, _anime.id == _item.anime_id)
    .where(_collection.user_id == _user_id)
    .where(tuple_(_item.collection_id, _item.position, _item.anime_id) > _after)
    .order_by(_item.collection_id, _item.position, _item.anime_id)
    .limit(CHUNK)
)


class AccountExporter:
    """Writes accounts out."""

    def __init__(self, runner: StatementRunner, users: UserService) -> None:
        self._runner = runner
        self._users = users

    async def pieces(self, user_id: UUID) -> AsyncIterator[bytes]:
        """The JSON, piece by piece."""
        user = await self._users.detail(user_id)
        head = msgspec.json.encode({"exported_at": datetime.now(UTC), "user": user})
        yield head[:-1]
        for name, section in _SECTIONS.items():
            yield b',"%s":[' % name.encode()
            comma = b""
            after = UUID(int=0)
            while rows := await self._runner.rows(_STATEMENTS[name], {"user_id": user_id, "after": after}):
                piece = comma + msgspec.json.encode([section.shape(row[:-1]) for row in rows])[1:-1]
                comma, after = b",", rows[-1][-1]
                del rows
                yield piece
            yield b"]"
        yield b',"collection_items":['
        comma = b""
        last: dict[str, Any] = {"collection_id": UUID(int=0), "position": MIN_POSITION, "anime_id": UUID(int=0)}
        while rows := await self._runner.rows(_ITEMS, {"user_id": user_id, **last}):
            items = [ExportedItem(*row) for row in rows]
            yield comma + msgspec.json.encode(items)[1:-1]
            comma, last = b",", {name: getattr(items[-1], name) for name in last}
        yield b"]}"
