"""Imports of catalogue files: upload, dry run, confirmation and progress; and the jobs that do this."""

from collections.abc import AsyncIterator
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Template

from kitsu.admin.authentication import POLLED, AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.catalogue.importing.runs import ImportRunReader, ImportRunService
from kitsu.domain.operations.jobs import JobReader, JobService
from kitsu.errors import AppError, InvalidRequest
from kitsu.web.guards import EDITS, requires
from kitsu.web.services import service

MAX_UPLOAD_BYTES = 48 << 20
"""A worker has 96 MiB for large bodies. A compressed release of the anime-offline-database has 5 MB."""
PIECE_BYTES = 1 << 20
BUSY = ("uploaded", "checking", "importing")
"""The states in which a job works, or will."""
Runs = NamedDependency[ImportRunService]


class ImportsController(Controller):
    path = "/imports"
    guards = EDITS
    dependencies = {"runs": service(ImportRunService)}
    reader: ImportRunReader

    @get("/")
    async def list_imports(self, request: AdminRequest) -> Template:
        """List imports, newest first, with the form for a file."""
        return await self._list(request, Form.empty())

    @post("/", request_max_body_size=MAX_UPLOAD_BYTES)
    async def upload(self, request: AdminRequest, runs: Runs) -> Template | Redirect:
        """Store a file, which a job checks."""
        file = (await request.form()).get("file")
        try:
            if not isinstance(file, UploadFile) or not file.filename:
                raise InvalidRequest([{"field": "file", "message": "Choose a file"}])
            run_id = await runs.upload(request.user.user_id, file.filename, _pieces(file))
        except AppError as error:
            form = Form({"file": [""]})
            return await self._list(request, form.refused(error), error.status)
        finally:
            if isinstance(file, UploadFile):
                await file.close()
        return see(f"/imports/{run_id}", done="file-uploaded")

    @get("/{run_id:uuid}")
    async def show_import(self, run_id: FromPath[UUID]) -> Template:
        """Show an import with what it changes."""
        return Template("imports/detail.html", context={"run": await self.reader.get(run_id), "busy": BUSY})

    @get("/{run_id:uuid}" + POLLED)
    async def show_progress(self, run_id: FromPath[UUID]) -> Template | Response[bytes]:
        """Return the part of the page that shows the progress; at its end the page loads again."""
        run = await self.reader.get(run_id)
        if run.state not in BUSY:
            return Response(b"", headers={"HX-Refresh": "true"})
        return Template("imports/progress.html", context={"run": run})

    @post("/{run_id:uuid}/start")
    async def start(self, run_id: FromPath[UUID], runs: Runs) -> Redirect:
        """Have a checked file imported."""
        await runs.start(run_id)
        return see(f"/imports/{run_id}", done="import-started")

    @post("/{run_id:uuid}/discard")
    async def discard(self, run_id: FromPath[UUID], runs: Runs) -> Redirect:
        """Delete a file that was not imported."""
        await runs.discard(run_id)
        return see("/imports", done="import-discarded")

    async def _list(self, request: AdminRequest, form: Form, status: int = 200) -> Template:
        page = await self.reader.page(page_request(request))
        context = {"form": form, "runs": page.items, "paging": paging(request, page.cursor)}
        return Template("imports/list.html", context=context, status_code=status)


class JobsController(Controller):
    path = "/jobs"
    guards = [requires("admin:*")]
    dependencies = {"jobs": service(JobService)}
    reader: JobReader

    @get("/")
    async def list_jobs(self, request: AdminRequest) -> Template:
        """List the jobs that wait, run or have failed."""
        page = await self.reader.page(page_request(request))
        return Template("jobs.html", context={"jobs": page.items, "paging": paging(request, page.cursor)})

    @post("/{job_id:int}/retry")
    async def retry(self, job_id: FromPath[int], jobs: NamedDependency[JobService]) -> Redirect:
        """Put a failed job back into the queue."""
        await jobs.retry(job_id)
        return see("/jobs", done="job-retried")


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE_BYTES):
        yield piece
