"""The library to take along: as JSON with all that is stored, or as the XML that MyAnimeList takes back."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import EXTERNAL_IDS
from kitsu.domain.mapping import mapper
from kitsu.domain.viewer.library import ROWS, LibraryEntry, Status
from kitsu.domain.viewer.list_import.entries import ExportEntry, LibraryFields
from kitsu.domain.viewer.list_import.myanimelist import write_myanimelist


class ExportedEntry(msgspec.Struct):
    """An entry, and what other catalogues call its anime."""

    entry: LibraryEntry
    external_ids: dict[str, str]


class LibraryExport(msgspec.Struct):
    """All of a library, by title."""

    exported_at: datetime
    entries: list[ExportedEntry]


_anime = models.Anime
_ALL = ROWS.add_columns(EXTERNAL_IDS.label("external_ids")).order_by(_anime.title_key, _anime.id)
_entry_of = mapper(LibraryEntry, ROWS)


class LibraryExporter:
    """Writes libraries out."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def as_json(self, user_id: UUID) -> LibraryExport:
        """All that is stored."""
        return LibraryExport(datetime.now(UTC), await self._entries(user_id))

    async def as_myanimelist(self, user_id: UUID, username: str) -> Iterator[bytes]:
        """What MyAnimeList knows by an id of its own, in pieces of XML."""
        known = [item for item in await self._entries(user_id) if "myanimelist" in item.external_ids]
        totals: dict[Status, int] = Counter(item.entry.status for item in known)
        return write_myanimelist(map(_for_myanimelist, known), username, totals)

    async def _entries(self, user_id: UUID) -> list[ExportedEntry]:
        rows = await self._runner.rows(_ALL, {"user_id": user_id})
        return [ExportedEntry(_entry_of(row), row["external_ids"]) for row in rows]


def _for_myanimelist(item: ExportedEntry) -> ExportEntry:
    entry, anime = item.entry, item.entry.anime
    fields: dict[str, Any] = {name: getattr(entry, name) for name in LibraryFields.__struct_fields__}
    return ExportEntry(
        **fields,
        myanimelist_id=item.external_ids["myanimelist"],
        title=anime.title,
        type=anime.type,
        episodes=anime.episode_count,
    )
