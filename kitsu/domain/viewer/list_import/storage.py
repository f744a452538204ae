"""What is stored of an import: its row, and its files in pieces."""

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.viewer.list_export.not_imported import Format, form_of, write
from kitsu.domain.viewer.list_import.policies import Policy
from kitsu.domain.viewer.list_import.reports import ImportReport, Result

File = Literal["upload", "rows", "not_imported"]

MAX_IMPORTS = 10
"""Finished imports of a user that are kept."""
CHUNK_BYTES = 256 << 10

_START_BYTES = 4096
_MARKS = b"\0\xef\xbb\xbf\xff\xfe"
"""Bytes of byte order marks and of UTF-16."""

_import, _chunk = models.LibraryImport, models.LibraryImportChunk


class Upload(NamedTuple):
    """A file, and what the user wants to do with it."""

    user_id: UUID
    data: bytes
    policy: Policy
    dry_run: bool


async def add_import(connection: AsyncConnection, upload: Upload, state: Literal["waiting", "done"]) -> UUID:
    """Store a new import, without files, in place of the oldest ones."""
    import_id = uuid7()
    values = {
        "id": import_id,
        "user_id": upload.user_id,
        "policy": upload.policy,
        "dry_run": upload.dry_run,
        "size": len(upload.data),
        "state": state,
        "finished_at": func.now() if state == "done" else None,
    }
    newest = (
        select(_import.id)
        .where(_import.user_id == upload.user_id)
        .order_by(_import.created_at.desc(), _import.id.desc())
        .limit(MAX_IMPORTS - 1)
    )
    oldest = (_import.user_id == upload.user_id, _import.finished_at.is_not(None), _import.id.not_in(newest))
    await connection.execute(delete(_import).where(*oldest))
    await connection.execute(insert(_import).values(values))
    return import_id


async def add_finished(connection: AsyncConnection, upload: Upload, result: Result) -> ImportReport:
    """Store an import that a request has done, and return its report."""
    import_id = await add_import(connection, upload, "done")
    return await finish(connection, import_id, format_of(upload.data), result, dry_run=upload.dry_run)


async def finish(
    connection: AsyncConnection, import_id: UUID, uploaded: Format, result: Result, *, dry_run: bool
) -> ImportReport:
    """Store the report and the files of an import, and delete the uploaded file."""
    report = result.report(import_id, dry_run=dry_run)
    await connection.execute(delete(_chunk).where(_chunk.import_id == import_id))
    rows = await asyncio.to_thread(lambda: list(_chunks(_json_array(result.rows))))
    await add_chunks(connection, import_id, "rows", rows)
    form = form_of(uploaded, result.unknown)
    if result.unknown:
        left = await asyncio.to_thread(lambda: list(_chunks(write(result.unknown, form))))
        await add_chunks(connection, import_id, "not_imported", left)
    values = {
        "state": "done",
        "format": form,
        "report": msgspec.to_builtins(report),
        "rows_total": len(result.rows),
        "rows_done": len(result.rows),
        "error": None,
        "finished_at": func.clock_timestamp(),
    }
    await connection.execute(update(_import).where(_import.id == import_id).values(values))
    return report


async def add_chunks(connection: AsyncConnection, import_id: UUID, file: File, chunks: Iterable[bytes]) -> None:
    """Store a file of an import."""
    for number, data in enumerate(chunks):
        values = {"import_id": import_id, "file": file, "number": number, "data": data}
        await connection.execute(insert(_chunk).values(values))


def split(data: bytes) -> Iterator[bytes]:
    """Yield data in chunks."""
    return _chunks([data])


def format_of(data: bytes) -> Format:
    """Return the format of a file that was read."""
    if data.startswith(b"PK"):
        return "json"  # of the files of an archive
    if data.startswith(b"\x1f\x8b"):
        data = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(data, _START_BYTES)
    start = data[:_START_BYTES].translate(None, _MARKS).lstrip()
    return "xml" if start.startswith(b"<") else "json" if start.startswith((b"{", b"[")) else "csv"


def _json_array(rows: Sequence[msgspec.Struct]) -> Iterator[bytes]:
    separator = b"["
    for start in range(0, len(rows), 500):
        yield separator + msgspec.json.encode(rows[start : start + 500])[1:-1]
        separator = b","
    yield b"]" if rows else b"[]"


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)
