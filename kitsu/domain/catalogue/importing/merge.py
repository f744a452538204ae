"""Entries against the catalogue: staged by COPY, compared and merged by a few statements, in one transaction.

The last import's values stand in `catalogue_imports`, so that the merge has three sides: a field that still holds what
the last import brought takes the new value, any other was changed by an editor and stays.
"""

from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.domain.catalogue.importing import statements as sql
from kitsu.domain.catalogue.importing.entries import BLANK
from kitsu.domain.catalogue.importing.files import CatalogueFileError, Numbered, read_catalogue

MAX_REFUSED = 1000
"""A file with more lines that are no anime is not a catalogue, and is refused as a whole."""

MAX_REASON = 300
"""Characters of a reason that are told."""

BATCH = 1000
BATCH_SIZE = 4_000_000
"""Entries, and characters of them, that are sent to the database at a time."""

UUIDV7_SINCE = 18
_LOCK = 0x696D706F7274
"""One import at a time, for all instances on one database."""


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
    """Bring the file's anime in, all or nothing; with `dry_run` only say what would be done.

    `progress` is told how many bytes of the file are read. Raises CatalogueFileError, ImportBusyError.
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
    """What the planner and the search's index need after many rows at once, not whenever autovacuum comes by."""
    async with engine.connect() as connection:
        raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
        await raw.execute("VACUUM (ANALYZE) anime, releases, episodes, external_ids, catalogue_imports")


async def load_sample(engine: AsyncEngine) -> int:
    """Fill an empty catalogue with the sample that comes with Kitsu; returns how many anime that were."""
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
    await raw.execute(sql.STAGING)
    await _stage(raw, path, read_catalogue(path, progress), report)
    if not await raw.fetchval("SELECT EXISTS (SELECT FROM import_entries)"):
        number, reason = report.refused[0]
        raise CatalogueFileError(
            f"{path} holds no anime: all entries are refused, the first, {number}, because {reason}."
        )
    await _group(raw)
    await _match(raw, report)

    report.added = await raw.fetchval(sql.ADD)
    await raw.execute(sql.REMEMBER_ADDED.format(sample=sample))
    report.from_sample, matched = await raw.fetchrow(sql.FIND_CHANGES.format(sample=sample, blank=_literal(BLANK)))
    await raw.execute(sql.RENEW_SAMPLES)
    for statement in (sql.UPDATE_ANIME, sql.UPDATE_RELEASES, sql.ADD_RELEASES, sql.REMEMBER_CHANGED, sql.ADD_IDS):
        await raw.execute(statement.format(sample=sample))
    # The ids grow with time where PostgreSQL can make such ones.
    new_id = "uuidv7()" if raw.get_server_version().major >= UUIDV7_SINCE else "gen_random_uuid()"
    await raw.execute(sql.ADD_EPISODES.format(new_id=new_id))

    report.updated = await raw.fetchval(sql.COUNT_UPDATED)
    report.added += report.from_sample
    report.unchanged = matched - report.from_sample - report.updated
    report.merged = await raw.fetchval(sql.COUNT_MERGED)
    report.refused.sort()


async def _stage(raw: asyncpg.Connection, path: Path, entries: Iterator[Numbered], report: Report) -> None:
    """Copy the entries into the staging tables. Raises CatalogueFileError when too many are none."""
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


async def _group(raw: asyncpg.Connection) -> None:
    """Find the entries that are the same anime: they share a source or an anime of the catalogue, at any remove."""
    await raw.execute(sql.LINK_TO_CATALOGUE)
    while await raw.fetchval(sql.SPREAD_ROOTS):
        while await raw.fetchval(sql.SHORTEN_ROOTS):
            pass


async def _match(raw: asyncpg.Connection, report: Report) -> None:
    """Find the anime of each group. A group that would make one of two anime is refused: that is for an editor."""
    for number, named, more in await raw.fetch(sql.MATCH):
        some = ", ".join(named) + (f" and {more} more" if more else "")
        _refuse(report, number, f"its sources belong to different anime of the catalogue: {some}")
    await raw.execute(sql.DROP_AMBIGUOUS)


def _literal(value: dict[str, Any]) -> str:
    return "'" + msgspec.json.encode(value).decode().replace("'", "''") + "'::jsonb"
