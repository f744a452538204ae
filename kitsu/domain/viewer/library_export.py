"""The export of the library: as JSON with all that is stored, or as the XML that MyAnimeList imports."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import exists, func, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.catalogue.anime import EXTERNAL_IDS
from kitsu.domain.mapping import mapper
from kitsu.domain.viewer.library import ROWS, LibraryEntry
from kitsu.domain.viewer.list_import.myanimelist import EXPORT_TAIL, export_entry, export_head
from kitsu.domain.viewer.rows import USER_ID, export_json, export_listing, export_rows

MYANIMELIST = "myanimelist"
"""The provider of MyAnimeList's ids."""


class ExportedEntry(msgspec.Struct):
    """An entry, and what other catalogues call its anime."""

    entry: LibraryEntry
    external_ids: dict[str, str]


class LibraryExport(msgspec.Struct):
    """All of a library, by title."""

    exported_at: datetime
    entries: list[ExportedEntry]


_entry, _anime, _external = models.LibraryEntry, models.Anime, models.ExternalId
_entry_of = mapper(LibraryEntry, ROWS)


def _exported_of(row: Any) -> ExportedEntry:
    return ExportedEntry(_entry_of(row), row["external_ids"])


# A title that changes meanwhile may move its entry out of the export, or into it twice.
_BY_TITLE = export_listing(
    _exported_of, ROWS.add_columns(EXTERNAL_IDS.label("external_ids")), _anime.title_key, _anime.id
)
_TOTALS = (
    select(_entry.status, func.count())
    .where(
        _entry.user_id == USER_ID,
        exists().where(_external.anime_id == _entry.anime_id, _external.provider == MYANIMELIST),
    )
    .group_by(_entry.status)
)


class LibraryExporter:
    def __init__(self, runner: StatementRunner, users: UserReader) -> None:
        self._runner = runner
        self._users = users

    async def as_json(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield a LibraryExport as JSON."""
        yield msgspec.json.encode(LibraryExport(datetime.now(UTC), []))[: -len(b"[]}")]
        async for piece in export_json(self._runner, _BY_TITLE, user_id):
            yield piece
        yield b"}"

    async def as_myanimelist(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield the XML that MyAnimeList imports, with the anime that have an id there."""
        user = await self._users.detail(user_id)
        yield export_head(user.username, dict(await self._runner.rows(_TOTALS, {"user_id": user_id})))
        async for piece in export_rows(self._runner, _BY_TITLE, user_id, _myanimelist_entries):
            yield piece
        yield EXPORT_TAIL


def _myanimelist_entries(items: list[ExportedEntry]) -> bytes:
    return b"".join(
        export_entry(item.entry, item.external_ids[MYANIMELIST]) for item in items if MYANIMELIST in item.external_ids
    )
