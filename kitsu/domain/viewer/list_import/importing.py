"""Import of a list into a viewer's library, in one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Uuid, any_, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.concurrency import UserLocks, released_slot
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, NotImported
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.domain.viewer.list_import.matching import Match, find_anime, suggest
from kitsu.domain.viewer.list_import.policies import FIELDS, Outcome, Policy, decide, remark_on_kept, values_of
from kitsu.domain.viewer.list_import.reports import NOT_FOUND, ImportedRow, ImportReport, Result
from kitsu.domain.viewer.list_import.storage import Upload, add_finished
from kitsu.errors import Unauthorized

MAX_CONCURRENT_IMPORTS = 1  # of one process, since a file is in memory while it is read
MAX_REQUEST_BYTES = 5 << 20
MAX_REQUEST_ROWS = 5_000
"""A larger file is imported by a job."""
BATCH_ROWS = 1_000
"""Rows that one statement stores, so that each stays far below the timeout of statements."""


class NeedsJob(Exception):
    """The file is larger than those that a request imports."""


class _Wanted(NamedTuple):
    """A row whose anime is known, and the values that it has."""

    entry: ListEntry
    anime_id: UUID
    values: dict[str, Any]
    remarks: list[str]


_user, _entry = models.User, models.LibraryEntry
_user_id: Any = bindparam("user_id", type_=Uuid)

# Imports of a user wait for each other. Requests that add rows of the user don't: these only need the user's key.
_LOCK = select(_user.id).where(_user.id == _user_id).with_for_update(key_share=True)
_EXISTING = (
    select(_entry.anime_id, _entry.updated_at, *(getattr(_entry, name) for name in FIELDS))
    .where(_entry.user_id == _user_id, _entry.anime_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(_entry.anime_id)
    .with_for_update()
)
_COLUMNS = ", ".join(FIELDS)
_ADD = text(f"""
INSERT INTO library_entries (id, user_id, anime_id, {_COLUMNS})
SELECT id, :user_id, anime_id, {_COLUMNS}
FROM jsonb_populate_recordset(NULL::library_entries, CAST(:rows AS jsonb))
ON CONFLICT (user_id, anime_id) DO NOTHING RETURNING anime_id
""")  # noqa: S608 - the names of columns
_CHANGE = text(f"""
UPDATE library_entries entry
SET {", ".join(f"{name} = new.{name}" for name in FIELDS)}, version = entry.version + 1, updated_at = now(),
    status_set_at = CASE
        WHEN new.status = entry.status AND new.is_rewatching = entry.is_rewatching THEN entry.status_set_at
        ELSE clock.now END
FROM jsonb_populate_recordset(NULL::library_entries, CAST(:rows AS jsonb)) new, (SELECT now()) clock
WHERE entry.user_id = :user_id AND entry.anime_id = new.anime_id
""")  # noqa: S608 - the names of columns


class ListImporter:
    """Imports files at once. `steps.py` imports those that need a job."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._slot = asyncio.Semaphore(MAX_CONCURRENT_IMPORTS)
        self._locks = UserLocks()
        self.outcomes = Outcomes("done", refused=ListFileError)
        """Of imports without jobs and dry runs."""

    async def run(self, upload: Upload, *, has_limits: bool = True) -> ImportReport:
        """Import a file. Raises NeedsJob if the limits of a request apply; ListFileError, Unauthorized."""
        if has_limits and len(upload.data) > MAX_REQUEST_BYTES:
            raise NeedsJob
        with nullcontext() if upload.dry_run else self.outcomes.counted(), released_slot():
            async with self._locks.of(upload.user_id), self._slot:
                items = await asyncio.to_thread(read_list, upload.data)
                if has_limits and len(items) > MAX_REQUEST_ROWS:
                    raise NeedsJob
                async with self._engine.begin() as connection:
                    result = await import_rows(connection, upload.user_id, items, upload.policy, upload.dry_run)
                    return await add_finished(connection, upload, result)


async def import_rows(
    connection: AsyncConnection,
    user_id: UUID,
    items: Sequence[ListEntry | NotImported],
    policy: Policy,
    dry_run: bool,  # noqa: FBT001 - one of the values of an upload
    progress: Callable[[int], None] = lambda _: None,
) -> Result:
    """Store the rows in the connection's transaction, or with `dry_run` only decide about them. Raises Unauthorized.

    `progress` gets the number of rows that are done.
    """
    matches = await find_anime(connection, [item for item in items if isinstance(item, ListEntry)])
    if await connection.scalar(_LOCK, {"user_id": user_id}) is None:
        raise Unauthorized
    wanted, unknown, not_imported = await asyncio.to_thread(_sort, items, matches)
    rows = [ImportedRow(each.number, each.title, None, "not_imported", [each.reason]) for each in not_imported]
    for start in range(0, len(wanted), BATCH_ROWS):
        progress(len(rows))
        rows += await _store(connection, user_id, wanted[start : start + BATCH_ROWS], policy, dry_run=dry_run)
    await suggest(connection, [each for each in not_imported if each.reason == NOT_FOUND])
    rows.sort(key=lambda row: row.number)
    return Result(rows, not_imported, unknown)


def _sort(
    items: Sequence[ListEntry | NotImported], matches: dict[int, Match]
) -> tuple[list[_Wanted], list[ListEntry], list[NotImported]]:
    """Return the rows to import, those whose anime is unknown, and all that are not imported."""
    wanted: dict[UUID, _Wanted] = {}
    unknown, not_imported = [], []
    for item in items:
        if isinstance(item, NotImported):
            not_imported.append(item)
        elif (match := matches.get(item.number)) is None:
            unknown.append(item)
            not_imported.append(NotImported(item.number, item.title or None, NOT_FOUND, None))
        elif first := wanted.get(match.anime_id):
            reason = f"It is the same anime as entry {first.entry.number}."
            not_imported.append(NotImported(item.number, item.title or None, reason, None))
        else:
            values, remarks = values_of(item, match.episode_count)
            if match.remark:
                remarks.append(match.remark)
            wanted[match.anime_id] = _Wanted(item, match.anime_id, values, remarks)
    return list(wanted.values()), unknown, not_imported


async def _store(
    connection: AsyncConnection, user_id: UUID, batch: Sequence[_Wanted], policy: Policy, *, dry_run: bool
) -> list[ImportedRow]:
    """Decide about rows, store them, and return what became of them."""
    rows: list[ImportedRow] = []
    while batch:
        ids = [each.anime_id for each in batch]
        existing = {row.anime_id: row for row in await connection.execute(_EXISTING, {"user_id": user_id, "ids": ids})}
        decided = [(each, *decide(each.entry, each.values, existing.get(each.anime_id), policy)) for each in batch]
        added: set[UUID] = set()
        if not dry_run:
            added = set((await _write(connection, _ADD, user_id, decided, "added")).scalars())
            await _write(connection, _CHANGE, user_id, decided, "updated")
        # Another request may have added an entry meanwhile: the policy decides about it.
        batch = [
            each for each, outcome, _ in decided if not dry_run and outcome == "added" and each.anime_id not in added
        ]
        again = {each.anime_id for each in batch}
        for each, outcome, _ in decided:
            if each.anime_id in again:
                continue
            if outcome == "kept_different":
                each.remarks.append(remark_on_kept(each.values, existing[each.anime_id]))
            rows.append(ImportedRow(each.entry.number, each.entry.title or None, each.anime_id, outcome, each.remarks))
    return rows


async def _write(
    connection: AsyncConnection,
    statement: Any,
    user_id: UUID,
    decided: Sequence[tuple[_Wanted, Outcome, dict[str, Any]]],
    wanted: Outcome,
) -> Any:
    rows = [
        {"id": uuid7(), "anime_id": each.anime_id, **columns} for each, outcome, columns in decided if outcome == wanted
    ]
    return await connection.execute(statement, {"user_id": user_id, "rows": msgspec.json.encode(rows).decode()})
