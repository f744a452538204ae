"""The job that imports an uploaded list."""

from datetime import timedelta

from kitsu.domain.viewer.list_import.runs import ImportList
from kitsu.domain.viewer.list_import.steps import fail_import, import_upload
from kitsu.jobs.registry import JobContext, runs

FAILURE = "The import failed for a reason of the service. Try it again later."


async def _fail(context: JobContext, job: ImportList, _: str) -> None:
    await fail_import(context.engine, job.import_id, FAILURE)


# One at a time, since a file is in memory while it is imported.
@runs(ImportList, limit=timedelta(minutes=10), retries=3, at_once=1, on_failure=_fail)
async def import_list(context: JobContext, job: ImportList) -> None:
    await import_upload(context.engine, job.import_id)
