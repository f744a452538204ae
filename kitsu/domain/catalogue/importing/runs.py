"""Imports of uploaded files: the upload, the confirmation after a dry run, and the list of imports.

An upload enqueues a job that checks the file by a dry run; the confirmation enqueues one that imports it (`steps.py`).
"""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, NoReturn
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import Uuid, bindparam, delete, insert, select, update

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.history import Action, Entity, FieldChange
from kitsu.domain.catalogue.importing.merge import Report
from kitsu.domain.fields import described
from kitsu.domain.jobs import Job, enqueue
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge

MAX_FILE_BYTES = 256 << 20
CHUNK_BYTES = 1 << 20
MAX_FILE_NAME = 255
SUFFIXES = (".jsonl", ".json", ".jsonl.zst", ".json.zst")
MAX_CHANGES = 1000
"""Changes that a report lists; further ones are only counted."""

State = Annotated[
    Literal["uploaded", "checking", "checked", "importing", "done", "failed"],
    Meta(title="ImportState", description="`checked` waits for the confirmation of an editor."),
]


class ImportFile(Job, frozen=True):
    """The job that checks the file of an import, or imports it."""

    name: ClassVar[str] = "import-catalogue"
    run_id: UUID
    dry_run: bool


class ImportedChange(msgspec.Struct):
    """A row of the catalogue that the import changes."""

    title: Annotated[str | None, described("The title of the anime.", "Death Note")]
    anime_id: UUID | None
    entity: Entity
    entity_id: str
    action: Action
    fields: dict[str, FieldChange]


class ChangeCount(msgspec.Struct):
    """How many rows of a kind the import changes."""

    entity: Entity
    action: Action
    count: int


class ImportResult(msgspec.Struct):
    """What an import changes, or has changed."""

    counts: Report
    changes: list[ChangeCount]
    first_changes: Annotated[list[ImportedChange], Meta(description=f"The first {MAX_CHANGES:,}.")]


class ImportRun(msgspec.Struct):
    """An import of an uploaded file."""

    id: UUID
    created_at: datetime
    by: Annotated[str | None, described("The name of the user who uploaded it, if there still is one.", "kaguya")]
    file_name: str
    size: int
    bytes_read: Annotated[int, described("How far the file is read in the current step.", 1048576)]
    state: State
    error: Annotated[str | None, described("Why it failed.", "the file is empty.")]
    finished_at: datetime | None


class ImportRunDetail(ImportRun):
    """An import with its result: that of the dry run until it is done."""

    result: ImportResult | None


_run = models.ImportRun
_RUNS: Rows = select(*columns_of(ImportRun, _run, by=models.User.username)).outerjoin(
    models.User, models.User.id == _run.user_id
)
_LIST = Listing(ImportRun, _RUNS, descending(_run.created_at), descending(_run.id), counted=select(_run.id))
_ONE: Rows = _RUNS.add_columns(_run.report.label("result")).where(_run.id == bindparam("run_id", type_=Uuid))
_detail = mapper(ImportRunDetail, _ONE)


class ImportRunReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, request: PageRequest) -> Page[ImportRun]:
        """Return imports, newest first."""
        return await _LIST.page(self._runner, {}, request)

    async def get(self, run_id: UUID) -> ImportRunDetail:
        """Return an import with its result. Raises NotFound."""
        row = await self._runner.row(_ONE, {"run_id": run_id})
        if row is None:
            raise NotFound("Import not found")
        detail = _detail(row)
        detail.result = msgspec.convert(detail.result, ImportResult | None)
        return detail


class ImportRunService(SQLAlchemyAsyncRepositoryService[models.ImportRun]):
    class Repository(SQLAlchemyAsyncRepository[models.ImportRun]):
        model_type = models.ImportRun

    repository_type = Repository

    async def upload(self, editor_id: UUID, name: str, content: AsyncIterable[bytes]) -> UUID:
        """Store a file, and have it checked. Raises InvalidRequest, PayloadTooLarge.

        The pieces of the content may have any size: memory holds one of them and a chunk.
        """
        session = self.repository.session
        file_name = _checked_name(name)
        run = await self.create(_run(user_id=editor_id, file_name=file_name), auto_refresh=False)
        size = number = 0
        async for chunk in _chunks(content):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise PayloadTooLarge(f"The file is larger than {MAX_FILE_BYTES >> 20} MiB")
            values = {"run_id": run.id, "number": number, "data": chunk}
            await execute_core(session, insert(models.ImportChunk).values(values))
            number += 1
        if not size:
            _refuse("The file is empty")
        await session.execute(update(_run).where(_run.id == run.id).values(size=size))
        await enqueue(session, ImportFile(run.id, dry_run=True))
        await session.commit()
        return run.id

    async def start(self, run_id: UUID) -> None:
        """Have a checked file imported. Raises NotFound, Conflict."""
        session = self.repository.session
        checked = update(_run).where(_run.id == run_id, _run.state == "checked")
        started: Any = await session.execute(checked.values({"state": "importing", "bytes_read": 0}))
        if not started.rowcount:
            await self._raise_state(run_id, "started")
        await enqueue(session, ImportFile(run_id, dry_run=False))
        await session.commit()

    async def discard(self, run_id: UUID) -> None:
        """Delete an import that is not done, with its file. Raises NotFound, Conflict."""
        session = self.repository.session
        states = ("uploaded", "checked", "failed")
        deleted: Any = await session.execute(delete(_run).where(_run.id == run_id, _run.state.in_(states)))
        if not deleted.rowcount:
            await self._raise_state(run_id, "discarded")
        await session.commit()

    async def _raise_state(self, run_id: UUID, action: str) -> NoReturn:
        state = await self.repository.session.scalar(select(_run.state).where(_run.id == run_id))
        if state is None:
            raise NotFound("Import not found")
        raise Conflict(f"An import that is {state} can't be {action}")


def _checked_name(name: str) -> str:
    # A browser may send a path of its machine.
    last = PurePosixPath(name.replace("\\", "/")).name
    if not last.lower().endswith(SUFFIXES):
        _refuse(f"The name of a catalogue ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if len(last) > MAX_FILE_NAME or "\0" in last:
        _refuse(f"The name of the file is longer than {MAX_FILE_NAME} characters, or holds a NUL")
    return last


def _refuse(message: str) -> NoReturn:
    raise InvalidRequest([{"field": "file", "message": message}])


async def _chunks(content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for piece in content:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)
