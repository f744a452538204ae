"""Entries against the catalogue: staged by COPY, then compared and merged by merge.sql, in one transaction.

A field gets its new value unless it was edited. `catalogue_imports` has the values of the last import.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db.statements import read_statements
from kitsu.domain.catalogue.importing.entries import BLANK
from kitsu.domain.catalogue.importing.files import CatalogueFileError, read_catalogue
from kitsu.domain.catalogue.importing.identity import CONTESTED, Identities, identify

MAX_REFUSED = 1000
"""A file with more invalid entries is not a catalogue, and is refused as a whole."""
MAX_REASON_LENGTH = 300
MAX_REMARKS = 1000
BATCH_SIZE = 200
"""Entries that one COPY sends. They are in memory at once, 64 KB each at most from JSON Lines."""
UUIDV7_SINCE = 18
_LOCK = 0x696D706F7274
"""One import at a time, for all instances on one database."""

_SQL = read_statements(__package__, "merge.sql")


class ImportBusyError(Exception):
    """Another import runs on this database."""


class Report(msgspec.Struct):
    """What an import did, or would do."""

    added: int = 0
    """Anime that the catalogue did not have, or only as a sample."""
    from_sample: int = 0
    """Those of `added` that replaced an anime of the sample catalogue, and have its id."""
    updated: int = 0
    unchanged: int = 0
    merged: int = 0
    """Entries that were the same anime as an earlier one of the file."""
    left_out: int = 0
    """Entries of anime that an editor deleted."""
    identities: Identities = msgspec.field(default_factory=Identities)
    """What the file says of merges, splits and ids that moved."""
    refused: list[tuple[int, str]] = []
    """Number and reason of each."""
    values_left_out: int = 0
    """Optional values that were wrong, and left out of their entries."""
    remarks: list[tuple[int, str]] = []
    """The first MAX_REMARKS of them: the entry's number, and what is wrong."""
    kept_episodes: list[tuple[str, list[int]]] = []
    """Title of an anime, and its episodes beyond the new number that viewers have watched or editors have changed."""

    def refuse(self, number: int, reason: str) -> None:
        """Add a refused entry."""
        self.refused.append((number, _short(reason)))

    def remark(self, number: int, text: str) -> None:
        """Add a value that was left out."""
        self.values_left_out += 1
        if len(self.remarks) < MAX_REMARKS:
            self.remarks.append((number, _short(text)))


def _short(text: str) -> str:
    return text[:MAX_REASON_LENGTH] + " …" if len(text) > MAX_REASON_LENGTH else text


class _Rollback(Exception):
    pass


async def _do_nothing(_connection: asyncpg.Connection, _report: Report) -> None:
    pass


async def import_catalogue(
    engine: AsyncEngine,
    path: Path,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    editor_id: UUID | None = None,
    before_end: Callable[[asyncpg.Connection, Report], Awaitable[None]] = _do_nothing,
) -> Report:
    """Import the anime of a file, all or nothing; with `dry_run` only report what would be done.

    `progress` is called with the number of bytes read, `before_end` in the transaction, before its commit or rollback.
    The changes are recorded as those of `editor_id`. Raises CatalogueFileError, ImportBusyError.
    """
    with suppress(_Rollback):
        async with _connection(engine) as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                raise ImportBusyError("Another import runs on this database; wait for it to end.")
            await connection.execute("SELECT set_config('kitsu.changed_by', $1, true)", str(editor_id or ""))
            report = await _import(connection, path, progress, sample=False)
            await before_end(connection, report)
            if dry_run:
                raise _Rollback
    return report


async def tidy(engine: AsyncEngine) -> None:
    """Vacuum and analyze for the planner and the search indexes, as autovacuum may run late after many new rows."""
    tables = "anime, anime_titles, title_words, releases, episodes, external_ids, catalogue_imports"
    async with _connection(engine) as connection:
        await connection.execute(f"VACUUM (ANALYZE) {tables}")


async def load_sample(engine: AsyncEngine) -> int:
    """Fill an empty catalogue with Kitsu's sample. Return the number of anime added."""
    async with _connection(engine) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT EXISTS (SELECT FROM anime)"):
            return 0
        with as_file(files("kitsu") / "sample_catalogue.jsonl") as path:
            return (await _import(connection, path, lambda _: None, sample=True)).added


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    async with engine.connect() as connection:
        yield (await connection.get_raw_connection()).driver_connection


async def _import(
    connection: asyncpg.Connection, path: Path, progress: Callable[[int], None], *, sample: bool
) -> Report:
    report = Report()
    await connection.execute("SELECT set_config('kitsu.change_source', 'import', true)")
    await connection.execute(_SQL["create_tables"])
    rows = _rows(path, progress, report)
    columns = ["number", "anime_id", "release_id", "root", "fields", "sources", "airing"]
    while batch := list(islice(rows, BATCH_SIZE)):
        await connection.copy_records_to_table("import_entries", records=batch, columns=columns)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM import_entries)"):
        number, reason = report.refused[0]
        raise CatalogueFileError(
            f"{path} holds no anime: all entries are refused, the first, {number}, because {reason}."
        )
    # Entries are the same anime when they share a source, directly or through others.
    await connection.execute(_SQL["add_sources"])
    while await connection.fetchval(_SQL["spread_roots"]):
        while await connection.fetchval(_SQL["shorten_roots"]):
            pass
    identities = await identify(connection, _SQL)
    for number in identities.contested:
        report.refuse(number, CONTESTED)
    left_out = await connection.fetchval(_SQL["leave_out_deleted"])

    new_id = "uuidv7()" if connection.get_server_version().major >= UUIDV7_SINCE else "gen_random_uuid()"
    blank = "'" + msgspec.json.encode(BLANK).decode() + "'::jsonb"
    await connection.execute(_SQL["merge"].format(columns=", ".join(BLANK), blank=blank, sample=sample, new_id=new_id))
    counts = await connection.fetchrow(_SQL["count"])
    report.kept_episodes = [(title, numbers) for title, numbers in await connection.fetch(_SQL["kept"])]
    report.refused.sort()
    return msgspec.structs.replace(report, **counts, left_out=left_out, identities=identities)


def _rows(path: Path, progress: Callable[[int], None], report: Report) -> Iterator[tuple[Any, ...]]:
    """Yield the valid entries as rows; add the others to the report. Raises CatalogueFileError, also for too many."""
    for number, entry, why_not, remarks in read_catalogue(path, progress):
        reason = why_not
        if entry is not None:
            try:
                parts = (entry.columns(), entry.ids(), entry.airing())
                texts = [msgspec.json.encode(part).decode() for part in parts]
            except ValueError as error:  # UnicodeEncodeError, for a lone surrogate, is one
                reason = str(error)
            else:
                for remark in remarks:
                    report.remark(number, remark)
                yield number, uuid7(), uuid7(), number, *texts
                continue
        report.refuse(number, reason)
        if len(report.refused) > MAX_REFUSED:
            first, reason = report.refused[0]
            raise CatalogueFileError(
                f"{path}: more than {MAX_REFUSED:,} entries are not anime, so this is not a catalogue; "
                f"the first, {first}, because {reason}."
            )
