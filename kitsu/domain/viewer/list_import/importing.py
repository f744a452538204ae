"""Import of a list into a viewer's library: the anime of each entry, and the policy for existing entries."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Text, Uuid, and_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.concurrency import released_slot
from kitsu.domain.fields import described
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry, ListFileError, NotImported, Suggestion
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.errors import Unauthorized

Policy = Literal["keep", "replace", "newer"]

MAX_CONCURRENT_IMPORTS = 1  # of one process: a file is in memory while it is read, and the largest take 300 MB
MAX_SUGGESTIONS = 200


class ImportReport(msgspec.Struct):
    """Counts of the entries of a file, and those that were not imported."""

    added: Annotated[int, described("The number of new entries.", 41)]
    updated: Annotated[int, described("The number of changed entries.", 3)]
    unchanged: Annotated[int, described("The number of entries that were kept.", 12)]
    not_imported: Annotated[list[NotImported], described("The entries that were not imported.")]
    dry_run: Annotated[bool, described("Whether the library was left unchanged, as requested.")]


_FIELDS = LibraryFields.__struct_fields__
_user, _entry, _known = models.User, models.LibraryEntry, models.ExternalId
_user_id: Any = bindparam("user_id", type_=Uuid)

# Other requests that add rows of the user wait: their foreign key needs the user's row.
_LOCK = select(_user.id).where(_user.id == _user_id).with_for_update()
_wanted = (
    func.unnest(bindparam("providers", type_=ARRAY(Text)), bindparam("ids", type_=ARRAY(Text)))
    .table_valued("provider", "external_id")
    .render_derived()
)
_IDS = select(_known.provider, _known.external_id, _known.anime_id).join(
    _wanted, and_(_known.provider == _wanted.c.provider, _known.external_id == _wanted.c.external_id)
)
_EXISTING = (
    select(_entry.anime_id, _entry.updated_at, *(getattr(_entry, name) for name in _FIELDS))
    .where(_entry.user_id == _user_id)
    .with_for_update()
)
_new = insert(_entry)
_UPSERT = _new.on_conflict_do_update(
    index_elements=[_entry.user_id, _entry.anime_id],
    set_={**{name: _new.excluded[name] for name in _FIELDS}, "version": _entry.version + 1, "updated_at": func.now()},
)
_SUGGEST = text("""
SELECT wanted.n, found.id, found.title
FROM unnest(CAST(:titles AS text[])) WITH ORDINALITY AS wanted (title, n),
LATERAL (SELECT left(replace(kitsu_search_key(wanted.title), ' ', ''), 250) AS packed) AS key,
LATERAL (
    SELECT anime.id, anime.title FROM anime_titles JOIN anime ON anime.id = anime_titles.anime_id
    WHERE length(key.packed) >= 3 AND anime_titles.packed = key.packed
    ORDER BY position, created_at DESC, anime.id LIMIT 1
) AS found
""")


class ListImporter:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._slot = asyncio.Semaphore(MAX_CONCURRENT_IMPORTS)
        self.outcomes = Outcomes("done", refused=ListFileError)
        """Of imports, without dry runs."""

    async def run(self, user_id: UUID, data: bytes, policy: Policy, *, dry_run: bool) -> ImportReport:
        """Import a MyAnimeList or AniList file. Raises ListFileError, Unauthorized."""
        with nullcontext() if dry_run else self.outcomes.counted(), released_slot():
            async with self._slot:
                items = await asyncio.to_thread(read_list, data)
                async with self._engine.connect() as connection:
                    report = await _import(connection, user_id, items, policy)
                    await (connection.rollback() if dry_run else connection.commit())
        report.dry_run = dry_run
        return report


async def _import(
    connection: AsyncConnection, user_id: UUID, items: Sequence[ListEntry | NotImported], policy: Policy
) -> ImportReport:
    if await connection.scalar(_LOCK, {"user_id": user_id}) is None:
        raise Unauthorized
    entries = [item for item in items if isinstance(item, ListEntry)]
    not_imported = [item for item in items if isinstance(item, NotImported)]
    anime_ids = await _find_anime(connection, entries)
    existing = {row.anime_id: row for row in await connection.execute(_EXISTING, {"user_id": user_id})}

    known: dict[UUID, ListEntry] = {}
    unknown = []
    for entry in entries:
        anime_id = next((anime_ids[each] for each in entry.ids if each in anime_ids), None)
        if anime_id is None:
            unknown.append(NotImported(entry.number, entry.title, "It is not in the catalogue.", None))
        elif first := known.get(anime_id):
            reason = f"It is the same anime as entry {first.number}."
            not_imported.append(NotImported(entry.number, entry.title, reason, None))
        else:
            known[anime_id] = entry
    changed = [
        {"id": uuid7(), "user_id": user_id, "anime_id": anime_id, **_columns(entry)}
        for anime_id, entry in known.items()
        if _is_to_store(entry, existing.get(anime_id), policy)
    ]
    if changed:
        await connection.execute(_UPSERT, changed)
    await _suggest(connection, unknown)
    added = len(known.keys() - existing.keys())
    not_imported = sorted([*not_imported, *unknown], key=lambda item: item.number)
    return ImportReport(added, len(changed) - added, len(known) - len(changed), not_imported, dry_run=False)


async def _find_anime(connection: AsyncConnection, entries: Iterable[ListEntry]) -> dict[tuple[str, str], UUID]:
    """Return the anime of each known pair of provider and id."""
    pairs = sorted({pair for entry in entries for pair in entry.ids})
    parameters = {"providers": [provider for provider, _ in pairs], "ids": [external_id for _, external_id in pairs]}
    rows = await connection.execute(_IDS, parameters)
    return {(row.provider, row.external_id): row.anime_id for row in rows}


def _columns(entry: ListEntry) -> dict[str, Any]:
    """Return the columns of an entry; the score in whole points."""
    columns = {name: getattr(entry, name) for name in _FIELDS}
    return {**columns, "score": entry.score and math.floor(entry.score + 0.5)}


def _is_to_store(entry: ListEntry, old: Any, policy: Policy) -> bool:
    if old is None:
        return True
    if all(value == getattr(old, name) for name, value in _columns(entry).items()):
        return False
    if policy != "newer":
        return policy == "replace"
    changed_at = entry.updated_at or _start_of(entry.completed_on or entry.started_on)
    return changed_at is not None and changed_at > old.updated_at


def _start_of(day: str | None) -> datetime | None:
    """Return the start of a day, a month or a year."""
    return datetime.fromisoformat(day + "-01" * (2 - day.count("-"))).replace(tzinfo=UTC) if day else None


async def _suggest(connection: AsyncConnection, unknown: list[NotImported]) -> None:
    with_title = [item for item in unknown if item.title][:MAX_SUGGESTIONS]
    if with_title:
        rows = await connection.execute(_SUGGEST, {"titles": [item.title for item in with_title]})
        for number, anime_id, title in rows:
            with_title[number - 1].suggestion = Suggestion(anime_id, title)
