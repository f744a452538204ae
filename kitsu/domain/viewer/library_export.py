"""The library to take along: as JSON with all that is stored, or as the XML that MyAnimeList takes back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Text, Uuid, bindparam, exists, func, select, tuple_

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import EXTERNAL_IDS
from kitsu.domain.mapping import mapper
from kitsu.domain.viewer.library import ROWS, LibraryEntry
from kitsu.domain.viewer.list_import.entries import ExportEntry, LibraryFields
from kitsu.domain.viewer.list_import.myanimelist import EXPORT_TAIL, export_entry, export_head

CHUNK = 50
"""Rows read at once. A client that reads slowly keeps a chunk of them in memory."""
MYANIMELIST = "myanimelist"
"""The provider of the ids that MyAnimeList knows."""


class ExportedEntry(msgspec.Struct):
    """An entry, and what other catalogues call its anime."""

    entry: LibraryEntry
    external_ids: dict[str, str]


class LibraryExport(msgspec.Struct):
    """All of a library, by title."""

    exported_at: datetime
    entries: list[ExportedEntry]


_anime, _external = models.Anime, models.ExternalId
_user_id: Any = bindparam("user_id", type_=Uuid)
_after: Any = tuple_(bindparam("after_title", type_=Text), bindparam("after_id", type_=Uuid))
_CHUNK = (
    ROWS.add_columns(EXTERNAL_IDS.label("external_ids"), _anime.title_key, _anime.id.label("after_id"))
    .where(tuple_(_anime.title_key, _anime.id) > _after)
    .order_by(_anime.title_key, _anime.id)
    .limit(CHUNK)
)
_entry_of = mapper(LibraryEntry, ROWS)
_entry = models.LibraryEntry
_TOTALS = (
    select(_entry.status, func.count())
    .where(
        _entry.user_id == _user_id,
        exists().where(_external.anime_id == _entry.anime_id, _external.provider == MYANIMELIST),
    )
    .group_by(_entry.status)
)


class LibraryExporter:
    """Writes libraries out, in pieces of some rows each. It holds no connection between them.

    A title that changes meanwhile may move its entry out of the export, or into it twice.
    """

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def as_json(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield a LibraryExport as JSON, with all that is stored."""
        yield msgspec.json.encode(LibraryExport(datetime.now(UTC), []))[: -len(b"]}")]
        comma = b""
        async for chunk in self._chunks(user_id):
            yield comma + msgspec.json.encode(chunk)[1:-1]
            comma = b","
        yield b"]}"

    async def as_myanimelist(self, user_id: UUID, username: str) -> AsyncIterator[bytes]:
        """Yield the XML that MyAnimeList takes back, with the anime that have an id there."""
        yield export_head(username, dict(await self._runner.rows(_TOTALS, {"user_id": user_id})))
        async for chunk in self._chunks(user_id):
            yield b"".join(export_entry(_for_myanimelist(item)) for item in chunk if MYANIMELIST in item.external_ids)
        yield EXPORT_TAIL

    async def _chunks(self, user_id: UUID) -> AsyncIterator[list[ExportedEntry]]:
        """Yield the entries by title."""
        after: dict[str, Any] = {"after_title": "", "after_id": UUID(int=0)}
        while rows := await self._runner.rows(_CHUNK, {"user_id": user_id, **after}):
            chunk = [ExportedEntry(_entry_of(row), row["external_ids"]) for row in rows]
            after = {"after_title": rows[-1]["title_key"], "after_id": rows[-1]["after_id"]}
            del rows
            yield chunk


def _for_myanimelist(item: ExportedEntry) -> ExportEntry:
    entry, anime = item.entry, item.entry.anime
    fields: dict[str, Any] = {name: getattr(entry, name) for name in LibraryFields.__struct_fields__}
    return ExportEntry(
        **fields,
        myanimelist_id=item.external_ids[MYANIMELIST],
        title=anime.title,
        type=anime.type,
        episodes=anime.episode_count,
    )
