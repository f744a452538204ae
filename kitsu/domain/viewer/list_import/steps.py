"""The import of an uploaded list by a job."""

import asyncio
import io
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import LibraryImport, LibraryImportChunk
from kitsu.domain.progress import stored_progress
from kitsu.domain.viewer.list_export.not_imported import Format
from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, NotImported
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.domain.viewer.list_import.importing import import_rows
from kitsu.domain.viewer.list_import.storage import finish, format_of

# After a killed worker the state is `running` already, and `failed` when the job is retried on the admin site.
_BEFORE = ("waiting", "running", "failed")


async def import_upload(engine: AsyncEngine, import_id: UUID) -> None:
    """Import a stored file. A file that is no list makes the import `failed`."""
    run = await _begin(engine, import_id)
    if run is None:
        return
    try:
        items, form = await _read(engine, import_id)
    except ListFileError as error:
        await fail_import(engine, import_id, str(error))
        async with engine.begin() as connection:
            await connection.execute(delete(LibraryImportChunk).where(LibraryImportChunk.import_id == import_id))
        return
    await _update(engine, import_id, {"rows_total": len(items)})

    async def store(rows_done: int) -> None:
        await _update(engine, import_id, {"rows_done": rows_done})

    async with engine.begin() as connection:
        async with stored_progress(store) as progress:
            result = await import_rows(connection, run.user_id, items, run.policy, run.dry_run, progress)
        # In the transaction of the import: it is done if, and only if, its rows are stored.
        await finish(connection, import_id, form, result, dry_run=run.dry_run)


async def fail_import(engine: AsyncEngine, import_id: UUID, error: str) -> None:
    """Store why an import failed. The file is kept, so that the job can be retried."""
    await _update(engine, import_id, {"state": "failed", "error": error, "finished_at": func.now()})


async def _begin(engine: AsyncEngine, import_id: UUID) -> Any:
    """Return the import, or None if it was deleted with its user, or is done."""
    one = LibraryImport
    statement = update(one).where(one.id == import_id, one.state.in_(_BEFORE)).values(state="running", rows_done=0)
    async with engine.begin() as connection:
        return (await connection.execute(statement.returning(one.user_id, one.policy, one.dry_run))).one_or_none()


async def _read(engine: AsyncEngine, import_id: UUID) -> tuple[list[ListEntry | NotImported], Format]:
    """Return the rows and the format of the file, which may be large and is in memory only here."""
    chunks = select(LibraryImportChunk.data).where(
        LibraryImportChunk.import_id == import_id, LibraryImportChunk.file == "upload"
    )
    file, number = io.BytesIO(), 0
    async with engine.connect() as connection:
        # One by one, since the driver would buffer all of them.
        while (data := await connection.scalar(chunks.where(LibraryImportChunk.number == number))) is not None:
            file.write(data)
            number += 1
    content = file.getvalue()
    return await asyncio.to_thread(read_list, content), format_of(content)


async def _update(engine: AsyncEngine, import_id: UUID, values: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        await connection.execute(update(LibraryImport).where(LibraryImport.id == import_id).values(values))
