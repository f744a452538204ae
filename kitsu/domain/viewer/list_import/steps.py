"""The import of an uploaded list by a job."""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.models import LibraryImport, LibraryImportChunk
from kitsu.domain.progress import stored_progress
from kitsu.domain.viewer.list_import.entries import ListFileError
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.domain.viewer.list_import.importing import import_rows
from kitsu.domain.viewer.list_import.storage import Upload, finish

# The state of an import whose worker was killed is `running` already; a retry by hand begins with `failed`.
_BEFORE = ("waiting", "running", "failed")


async def import_upload(engine: AsyncEngine, import_id: UUID) -> None:
    """Import a stored file. A file that is no list makes the import `failed`."""
    upload = await _begin(engine, import_id)
    if upload is None:
        return
    try:
        items = await asyncio.to_thread(read_list, upload.data)
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
            result = await import_rows(connection, upload.user_id, items, upload.policy, upload.dry_run, progress)
        # In the transaction of the import: it is done if, and only if, its rows are stored.
        await finish(connection, import_id, upload, result)


async def fail_import(engine: AsyncEngine, import_id: UUID, error: str) -> None:
    """Store why an import failed. The file is kept, so that the job can be retried."""
    await _update(engine, import_id, {"state": "failed", "error": error, "finished_at": func.now()})


async def _begin(engine: AsyncEngine, import_id: UUID) -> Upload | None:
    """Return the upload, or None if it was deleted with its user, or is done."""
    one = LibraryImport
    statement = update(one).where(one.id == import_id, one.state.in_(_BEFORE)).values(state="running", rows_done=0)
    chunks = select(LibraryImportChunk.data).where(
        LibraryImportChunk.import_id == import_id, LibraryImportChunk.file == "upload"
    )
    async with engine.begin() as connection:
        row = (await connection.execute(statement.returning(one.user_id, one.policy, one.dry_run))).one_or_none()
        if row is None:
            return None
        pieces = (await connection.scalars(chunks.order_by(LibraryImportChunk.number))).all()
    return Upload(row.user_id, b"".join(pieces), row.policy, row.dry_run)


async def _update(engine: AsyncEngine, import_id: UUID, values: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        await connection.execute(update(LibraryImport).where(LibraryImport.id == import_id).values(values))
