"""Import of a list into a viewer's library: the anime of each entry, and the policy for one that is there already."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import ARRAY, Text, Uuid, and_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.concurrency import released_slot
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry, ListFileError, Refusal
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.errors import Unauthorized

Policy = Literal["keep", "replace", "newer"]

MAX_CONCURRENT_IMPORTS = 1
"""Concurrent imports of one process: a file is in memory while it is read, and the largest take 300 MB."""
MAX_SUGGESTIONS = 200
"""Entries that get a suggestion by title."""


class Suggestion(msgspec.Struct):
    """An anime of the same title."""

    anime_id: UUID
    title: str


class NotImported(msgspec.Struct):
    """An entry that was not imported."""

    number: Annotated[int, Meta(description="its place in the file, from 1")]
    title: str | None
    reason: str
    suggestion: Annotated[Suggestion | None, Meta(description="an anime of the same title, which may be it")]


class ImportReport(msgspec.Struct):
    """Counts of the entries of a file, and those that were not imported."""

    added: int
    updated: int
    unchanged: int
    not_imported: list[NotImported]
    dry_run: bool


_user, _entry, _known = models.User, models.LibraryEntry, models.ExternalId
FIELDS = LibraryFields.__struct_fields__

# Other requests that add rows of the user wait: their foreign key needs the user's row.
_LOCK = select(_user.id).where(_user.id == bindparam("user_id", type_=Uuid)).with_for_update()
_wanted = (
    func.unnest(bindparam("providers", type_=ARRAY(Text)), bindparam("ids", type_=ARRAY(Text)))
    .table_valued("provider", "external_id")
    .render_derived()
)
_IDS = select(_known.provider, _known.external_id, _known.anime_id).join(
    _wanted, and_(_known.provider == _wanted.c.provider, _known.external_id == _wanted.c.external_id)
)
_THERE = (
    select(_entry.anime_id, _entry.updated_at, *(getattr(_entry, name) for name in FIELDS))
    .where(_entry.user_id == bindparam("user_id", type_=Uuid))
    .with_for_update()
)
_new = insert(_entry).values({name: bindparam(name) for name in ("id", "user_id", "anime_id", *FIELDS)})
_STORE = _new.on_conflict_do_update(
    index_elements=[_entry.user_id, _entry.anime_id],
    set_={**{name: _new.excluded[name] for name in FIELDS}, "version": _entry.version + 1, "updated_at": func.now()},
)
# A title is a line of `search_text`, folded; the pattern is for the index.
_SUGGEST = text(r"""
SELECT wanted.n, found.id, found.title
FROM unnest(CAST(:titles AS text[])) WITH ORDINALITY AS wanted (title, n),
LATERAL (SELECT kitsu_fold(wanted.title) AS folded) AS fold,
LATERAL (
    SELECT id, title FROM anime
    WHERE length(folded) >= 3 AND folded = ANY (string_to_array(search_text, E'\n'))
      AND search_text LIKE '%' || replace(replace(replace(folded, '\', '\\'), '%', '\%'), '_', '\_') || '%'
    ORDER BY title_key = folded DESC, created_at DESC, id LIMIT 1
) AS found
""")


class ListImporter:
    """Imports lists."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._slot = asyncio.Semaphore(MAX_CONCURRENT_IMPORTS)
        self.outcomes = Outcomes("done", refused=ListFileError)
        """Outcomes of imports, without those of dry runs."""

    async def run(self, user_id: UUID, data: bytes, policy: Policy, *, dry_run: bool) -> ImportReport:
        """Import a MyAnimeList or AniList file. Raises ListFileError, Unauthorized.

        The policy says what becomes of an entry that the library has already: keep it, replace it, or replace it when
        the file's is newer, by its time of change, else by the day it was completed or begun.
        """
        with nullcontext() if dry_run else self.outcomes.counted(), released_slot():
            async with self._slot:
                read = await asyncio.to_thread(read_list, data)
                async with self._engine.connect() as connection:
                    report = await _import(connection, user_id, read, policy)
                    await (connection.rollback() if dry_run else connection.commit())
        report.dry_run = dry_run
        return report


async def _import(
    connection: AsyncConnection, user_id: UUID, read: Sequence[ListEntry | Refusal], policy: Policy
) -> ImportReport:
    if await connection.scalar(_LOCK, {"user_id": user_id}) is None:
        raise Unauthorized
    entries = [item for item in read if isinstance(item, ListEntry)]
    out = [NotImported(*item, suggestion=None) for item in read if isinstance(item, Refusal)]
    anime_of = await _anime_of(connection, entries)
    there = {row.anime_id: row for row in (await connection.execute(_THERE, {"user_id": user_id})).all()}

    to_store: dict[UUID, ListEntry] = {}
    unknown = []
    for entry in entries:
        anime_id = next((anime_of[known] for known in entry.ids if known in anime_of), None)
        if anime_id is None:
            unknown.append(NotImported(entry.number, entry.title, "It is not in the catalogue.", None))
        elif anime_id in to_store:
            first = to_store[anime_id]
            out.append(NotImported(entry.number, entry.title, f"It is the same anime as entry {first.number}.", None))
        else:
            to_store[anime_id] = entry
    changed = []
    for anime_id, entry in to_store.items():
        fields = {name: getattr(entry, name) for name in FIELDS}
        old = there.get(anime_id)
        if old is None or (
            any(getattr(old, name) != value for name, value in fields.items()) and _wins(entry, old, policy)
        ):
            changed.append({"id": uuid7(), "user_id": user_id, "anime_id": anime_id, **fields})
    if changed:
        await connection.execute(_STORE, changed)
    await _suggest(connection, unknown)
    added = len(to_store.keys() - there.keys())
    not_imported = sorted([*out, *unknown], key=lambda item: item.number)
    return ImportReport(added, len(changed) - added, len(to_store) - len(changed), not_imported, dry_run=False)


async def _anime_of(connection: AsyncConnection, entries: Iterable[ListEntry]) -> dict[tuple[str, str], UUID]:
    pairs = sorted({known for entry in entries for known in entry.ids})
    if not pairs:
        return {}
    providers, ids = zip(*pairs, strict=True)
    rows = await connection.execute(_IDS, {"providers": list(providers), "ids": list(ids)})
    return {(row.provider, row.external_id): row.anime_id for row in rows}


def _wins(entry: ListEntry, old: Any, policy: Policy) -> bool:
    if policy != "newer":
        return policy == "replace"
    changed_at = entry.updated_at or _begin_of(entry.completed_on or entry.started_on)
    return changed_at is not None and changed_at > old.updated_at


def _begin_of(day: str | None) -> datetime | None:
    """Return the beginning of a day, a month or a year."""
    return datetime.fromisoformat(day + "-01" * (2 - day.count("-"))).replace(tzinfo=UTC) if day else None


async def _suggest(connection: AsyncConnection, unknown: list[NotImported]) -> None:
    with_title = [item for item in unknown if item.title][:MAX_SUGGESTIONS]
    if with_title:
        rows = await connection.execute(_SUGGEST, {"titles": [item.title for item in with_title]})
        for number, anime_id, title in rows:
            with_title[number - 1].suggestion = Suggestion(anime_id, title)
