"""Entries against the catalogue: staged by COPY, then compared and merged by merge.sql, in one transaction.

`catalogue_imports` has the values of the last import, for a three-way merge: a field that still holds what the last
import brought takes the new value, any other was changed by an editor and stays.
"""

import re
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.domain.catalogue.importing.entries import BLANK
from kitsu.domain.catalogue.importing.files import CatalogueFileError, Numbered, read_catalogue

MAX_REFUSED = 1000
"""A file with more lines that are no anime is not a catalogue, and is refused as a whole."""

MAX_REASON = 300
"""Characters of a reason in the report."""

BATCH = 1000
BATCH_SIZE = 4_000_000
"""Entries, and characters of them, that one COPY sends."""

UUIDV7_SINCE = 18
_LOCK = 0x696D706F7274
"""One import at a time, for all instances on one database."""

_sections = re.split("(?m)^-- name: (.+)\n", files(__package__).joinpath("merge.sql").read_text("utf-8"))
_SQL = dict(zip(_sections[1::2], _sections[2::2], strict=True))


class ImportBusyError(Exception):
    """Another import runs on this database."""


class Report(msgspec.Struct):
    """What an import did, or would do."""

    added: int = 0
    """Anime that the catalogue did not have, or had as a sample only."""
    from_sample: int = 0
    """How many of those took over an anime of the sample catalogue, with its id."""
    updated: int = 0
    unchanged: int = 0
    merged: int = 0
    """Entries that were the same anime as an earlier one of the file."""
    refused: list[tuple[int, str]] = []
    """Number and reason of each."""


class _Rollback(Exception):
    pass


async def import_catalogue(
    engine: AsyncEngine, path: Path, *, dry_run: bool = False, progress: Callable[[int], None] = lambda _: None
) -> Report:
    """Import the file's anime, all or nothing; with `dry_run` only report what would be done.

    `progress` is called with the number of bytes read. Raises CatalogueFileError, ImportBusyError.
    """
    report = Report()
    async with engine.connect() as connection:
        raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
        try:
            async with raw.transaction():
                if not await raw.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                    raise ImportBusyError("Another import runs on this database; wait for it to end.")
                await _import(raw, path, report, progress, sample=False)
                if dry_run:
                    raise _Rollback  # noqa: TRY301 - how asyncpg's transaction is told
        except _Rollback:
            return report
    return report


async def tidy(engine: AsyncEngine) -> None:
    """Vacuum and analyze now what planner and search index need after many new rows: autovacuum may come late."""
    async with engine.connect() as connection:
        raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
        await raw.execute("VACUUM (ANALYZE) anime, releases, episodes, external_ids, catalogue_imports")


async def load_sample(engine: AsyncEngine) -> int:
    """Fill an empty catalogue with the sample that comes with Kitsu. Return the number of anime added."""
    report = Report()
    async with engine.connect() as connection:
        raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
        async with raw.transaction():
            await raw.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await raw.fetchval("SELECT EXISTS (SELECT FROM anime)"):
                return 0
            with as_file(files("kitsu") / "sample_catalogue.jsonl") as path:
                await _import(raw, path, report, lambda _: None, sample=True)
    return report.added


async def _import(
    raw: asyncpg.Connection, path: Path, report: Report, progress: Callable[[int], None], *, sample: bool
) -> None:
    await raw.execute(_SQL["create_tables"])
    await _stage(raw, path, read_catalogue(path, progress), report)
    if not await raw.fetchval("SELECT EXISTS (SELECT FROM import_entries)"):
        number, reason = report.refused[0]
        raise CatalogueFileError(
            f"{path} holds no anime: all entries are refused, the first, {number}, because {reason}."
        )
    # Entries are the same anime when they share a source or an anime of the catalogue, directly or through others.
    await raw.execute(_SQL["link_to_catalogue"])
    while await raw.fetchval(_SQL["spread_roots"]):
        while await raw.fetchval(_SQL["shorten_roots"]):
            pass
    # A group that belongs to several anime of the catalogue is refused: only an editor can merge them.
    for number, named, more in await raw.fetch(_SQL["match"]):
        some = ", ".join(named) + (f" and {more} more" if more else "")
        _refuse(report, number, f"its sources belong to different anime of the catalogue: {some}")

    # The ids grow with time where PostgreSQL can make such ones.
    new_id = "uuidv7()" if raw.get_server_version().major >= UUIDV7_SINCE else "gen_random_uuid()"
    blank = "'" + msgspec.json.encode(BLANK).decode() + "'::jsonb"
    await raw.execute(_SQL["merge"].format(columns=", ".join(BLANK), blank=blank, sample=sample, new_id=new_id))

    counts = await raw.fetchrow(_SQL["count"])
    report.added = counts["new"] + counts["from_sample"]
    report.from_sample, report.updated, report.merged = counts["from_sample"], counts["updated"], counts["merged"]
    report.unchanged = counts["matched"] - report.from_sample - report.updated
    report.refused.sort()


async def _stage(raw: asyncpg.Connection, path: Path, entries: Iterator[Numbered], report: Report) -> None:
    """Copy the entries into the staging tables. Raises CatalogueFileError when too many are refused."""
    rows: list[tuple[Any, ...]] = []
    sources: list[tuple[int, str, str]] = []
    size = 0

    async def flush() -> None:
        columns = ["number", "anime_id", "release_id", "root", "fields"]
        await raw.copy_records_to_table("import_entries", records=rows, columns=columns)
        await raw.copy_records_to_table("import_sources", records=sources)
        rows.clear()
        sources.clear()

    for number, entry, why_not in entries:
        reason = why_not
        if entry is not None:
            try:
                fields = msgspec.json.encode(entry.columns()).decode()
                ids = entry.ids()
            except ValueError as error:  # UnicodeEncodeError, of a lone surrogate, is one
                reason = str(error)
        if reason:
            _refuse(report, number, reason)
            if len(report.refused) > MAX_REFUSED:
                first, its_reason = report.refused[0]
                raise CatalogueFileError(
                    f"{path}: more than {MAX_REFUSED:,} entries are no anime, so this is no catalogue; "
                    f"the first, {first}, because {its_reason}."
                )
            continue
        rows.append((number, uuid7(), uuid7(), number, fields))
        sources += [(number, provider, external_id) for provider, external_id in ids]
        size += len(fields)
        if size > BATCH_SIZE or len(rows) >= BATCH:
            await flush()
            size = 0
    await flush()


def _refuse(report: Report, number: int, reason: str) -> None:
    report.refused.append((number, reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + " …"))
