"""Imports of a user: those that wait for a job, and the reports and files of finished ones."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import Integer, String, Uuid, bindparam, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.fields import described
from kitsu.domain.jobs import Job, enqueue
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.list_import.policies import POLICY_TEXT, Policy
from kitsu.domain.viewer.list_import.reports import ImportReport
from kitsu.domain.viewer.list_import.storage import File, Upload, add_chunks, add_import, split
from kitsu.domain.viewer.rows import USER_ID
from kitsu.errors import NotFound

State = Annotated[
    Literal["waiting", "running", "done", "failed"],
    Meta(title="LibraryImportState", description="The state of an import. A failed one has imported nothing."),
]


class ImportList(Job, frozen=True):
    """The job that imports an uploaded list."""

    name: ClassVar[str] = "import-list"
    import_id: UUID


class LibraryImport(msgspec.Struct):
    """An import of a list into the library."""

    id: UUID
    created_at: Annotated[datetime, described("When the file was uploaded.")]
    policy: Annotated[Policy, Meta(title="ImportPolicy", description=POLICY_TEXT)]
    dry_run: Annotated[bool, described("Whether it only reports what it would do.")]
    size: Annotated[int, described("The size of the file in bytes.", 8_388_608)]
    state: State
    rows_total: Annotated[int | None, described("The number of rows in the file, once it is read.", 20_000)]
    rows_done: Annotated[int, described("The number of rows that are done.", 7_000)]
    error: Annotated[str | None, described("Why it failed.", "The file is empty.")]
    finished_at: Annotated[datetime | None, described("When it was done, or failed.")]


class LibraryImportDetail(LibraryImport):
    """An import with its report, once it is done."""

    report: ImportReport | None


_import, _chunk = models.LibraryImport, models.LibraryImportChunk
_ROWS: Rows = select(*columns_of(LibraryImport, _import)).where(_import.user_id == USER_ID)
LISTING = Listing(
    LibraryImport,
    _ROWS,
    descending(_import.created_at),
    descending(_import.id),
    counted=select(_import.id).where(_import.user_id == USER_ID),
)
_import_id: Any = bindparam("import_id", type_=Uuid)
_ONE: Rows = _ROWS.add_columns(_import.report).where(_import.id == _import_id)
_detail_of = mapper(LibraryImport, _ONE)
_CHUNK: Rows = (
    select(_chunk.data, _import.format)
    .join(_import, _import.id == _chunk.import_id)
    .where(
        _import.id == _import_id,
        _import.user_id == USER_ID,
        _chunk.file == bindparam("file", type_=String),
        _chunk.number == bindparam("number", type_=Integer),
    )
)


class LibraryImportReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, user_id: UUID, request: PageRequest) -> Page[LibraryImport]:
        """Return imports, newest first."""
        return await LISTING.page(self._runner, {"user_id": user_id}, request)

    async def get(self, user_id: UUID, import_id: UUID) -> LibraryImportDetail:
        """Return an import with its report. Raises NotFound."""
        row = await self._runner.row(_ONE, {"user_id": user_id, "import_id": import_id})
        if row is None:
            raise NotFound("Import not found")
        report = msgspec.convert(row["report"], ImportReport | None)
        return LibraryImportDetail(**msgspec.structs.asdict(_detail_of(row)), report=report)

    async def open(self, user_id: UUID, import_id: UUID, file: File) -> tuple[str, AsyncIterator[bytes]]:
        """Return the format of a file of an import, and its pieces. Raises NotFound."""
        parameters = {"user_id": user_id, "import_id": import_id, "file": file}
        first = await self._runner.row(_CHUNK, {**parameters, "number": 0})
        if first is None:
            raise NotFound("The import does not exist, is not done, or has no such rows")

        async def pieces() -> AsyncIterator[bytes]:
            row, number = first, 0
            while row is not None:
                yield row["data"]
                number += 1
                row = await self._runner.row(_CHUNK, {**parameters, "number": number})

        return first["format"], pieces()


class LibraryImportService(SQLAlchemyAsyncRepositoryService[models.LibraryImport]):
    class Repository(SQLAlchemyAsyncRepository[models.LibraryImport]):
        model_type = models.LibraryImport

    repository_type = Repository

    async def enqueue(self, upload: Upload) -> UUID:
        """Store a file, and have a job import it. Raises Conflict if an import of the user waits or runs."""
        session = self.repository.session
        connection = await session.connection()
        with viewer_constraints():
            import_id = await add_import(connection, upload, "waiting")
        await add_chunks(connection, import_id, "upload", split(upload.data))
        await enqueue(session, ImportList(import_id))
        await session.commit()
        return import_id
