"""The two steps of an import of an uploaded file: the dry run, and the import itself. Jobs run them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import CatalogueChange, ImportChunk, ImportRun
from kitsu.domain.catalogue.importing.files import CatalogueFileError
from kitsu.domain.catalogue.importing.merge import Report, import_catalogue
from kitsu.domain.catalogue.importing.runs import MAX_CHANGES, SUFFIXES, ChangeCount, ImportedChange, ImportResult
from kitsu.domain.progress import stored_progress

# The state of a run whose worker was killed is that of the step already.
_BEFORE_CHECK = ("uploaded", "checking", "failed")
_BEFORE_IMPORT = ("importing", "failed")

# The changes of this transaction are among those after the last one before it: change sets have no index.
_COUNTS = """
SELECT entity, action, count(*) FROM catalogue_changes
WHERE id > $1 AND change_set = pg_current_xact_id()::text::bigint
GROUP BY 1, 2 ORDER BY 1, 2
"""
_FIRST_CHANGES = """
SELECT coalesce(anime.title, c.fields->'title'->>'before') AS title, c.anime_id, c.entity, c.entity_id, c.action,
       c.fields::text AS fields
FROM (
    SELECT * FROM catalogue_changes WHERE id > $1 AND change_set = pg_current_xact_id()::text::bigint
    ORDER BY id LIMIT $2
) c LEFT JOIN anime ON anime.id = c.anime_id
ORDER BY c.id
"""
_FINISH = """
UPDATE import_runs SET state = 'done', report = $2, bytes_read = size, finished_at = clock_timestamp() WHERE id = $1
"""
_DELETE_FILE = "DELETE FROM import_chunks WHERE run_id = $1"


async def run_step(engine: AsyncEngine, run_id: UUID, *, dry_run: bool) -> Report | None:
    """Check or import the file of a run. Return the report, or None if there is nothing to do.

    A file that is not a catalogue makes the run `failed`. Raises ImportBusyError.
    """
    run = await _begin(engine, run_id, dry_run=dry_run)
    if run is None:
        return None
    result = ImportResult(Report(), [], [])
    last_change = await _last_change(engine)

    async def before_end(connection: asyncpg.Connection, report: Report) -> None:
        nonlocal result
        counts = [ChangeCount(*row) for row in await connection.fetch(_COUNTS, last_change)]
        first = [_change(row) for row in await connection.fetch(_FIRST_CHANGES, last_change, MAX_CHANGES)]
        result = ImportResult(report, counts, first)
        if not dry_run:
            # In the transaction of the import: a run is done if, and only if, its file was imported.
            await connection.execute(_DELETE_FILE, run_id)
            await connection.execute(_FINISH, run_id, msgspec.json.encode(result).decode())

    async def store(bytes_read: int) -> None:
        await _update(engine, run_id, {"bytes_read": bytes_read})

    with _empty_file(run.file_name) as (path, file):
        await _copy(engine, run_id, file)
        try:
            async with stored_progress(store) as progress:
                report = await import_catalogue(
                    engine, path, dry_run=dry_run, progress=progress, editor_id=run.user_id, before_end=before_end
                )
        except CatalogueFileError as error:
            await fail_run(engine, run_id, str(error).removeprefix(f"{path}: ").replace(str(path), run.file_name))
            async with engine.begin() as connection:
                await connection.execute(delete(ImportChunk).where(ImportChunk.run_id == run_id))
            return None
    if dry_run:
        values = {"state": "checked", "report": msgspec.to_builtins(result), "bytes_read": ImportRun.size}
        await _update(engine, run_id, values)
    return report


async def fail_run(engine: AsyncEngine, run_id: UUID, error: str) -> None:
    """Store why a run failed."""
    await _update(engine, run_id, {"state": "failed", "error": error, "finished_at": func.now()})


async def _begin(engine: AsyncEngine, run_id: UUID, *, dry_run: bool) -> Any:
    """Return the run, or None if it was discarded or is done."""
    states, state = (_BEFORE_CHECK, "checking") if dry_run else (_BEFORE_IMPORT, "importing")
    values = {"state": state, "bytes_read": 0, "error": None, "finished_at": None}
    statement = update(ImportRun).where(ImportRun.id == run_id, ImportRun.state.in_(states)).values(values)
    async with engine.begin() as connection:
        return (await connection.execute(statement.returning(ImportRun.file_name, ImportRun.user_id))).one_or_none()


async def _update(engine: AsyncEngine, run_id: UUID, values: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        await connection.execute(update(ImportRun).where(ImportRun.id == run_id).values(values))


async def _last_change(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(select(func.max(CatalogueChange.id))) or 0


def _change(row: Any) -> ImportedChange:
    return msgspec.convert({**row, "fields": msgspec.json.decode(row["fields"])}, ImportedChange)


@contextmanager
def _empty_file(name: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a temporary file with the suffix of this name, which tells the format."""
    suffix = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len)
    with TemporaryDirectory(prefix="kitsu-import-") as folder:
        path = Path(folder, f"catalogue{suffix}")
        with path.open("wb") as file:
            yield path, file


async def _copy(engine: AsyncEngine, run_id: UUID, file: IO[bytes]) -> None:
    number = 0
    statement = select(ImportChunk.data).where(ImportChunk.run_id == run_id)
    async with engine.connect() as connection:
        while (chunk := await connection.scalar(statement.where(ImportChunk.number == number))) is not None:
            await asyncio.to_thread(file.write, chunk)
            number += 1
    file.flush()
