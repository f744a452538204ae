"""The job that checks or imports an uploaded file."""

from datetime import timedelta

from kitsu.domain.catalogue.importing import ImportBusyError, tidy
from kitsu.domain.catalogue.importing.runs import ImportFile
from kitsu.domain.catalogue.importing.steps import fail_run, run_step
from kitsu.domain.operations import command_runs
from kitsu.jobs.registry import JobContext, RetryLater, runs

BUSY_DELAY = timedelta(seconds=10)


async def _fail(context: JobContext, job: ImportFile, error: str) -> None:
    await fail_run(context.engine, job.run_id, error)


@runs(ImportFile, limit=timedelta(hours=1), retries=3, at_once=1, on_failure=_fail)
async def import_file(context: JobContext, job: ImportFile) -> None:
    try:
        report = await run_step(context.engine, job.run_id, dry_run=job.dry_run)
    except ImportBusyError as error:  # of `kitsu import-catalogue`
        raise RetryLater(BUSY_DELAY, str(error)) from error
    if report is not None and not job.dry_run:
        await command_runs.note(context.engine, command_runs.IMPORT)
        if report.added:
            await tidy(context.engine)
