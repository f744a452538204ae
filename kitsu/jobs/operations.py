"""The jobs of operations: the daily purge and the daily backup."""

from datetime import timedelta
from pathlib import Path

from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations.backup.daily import take_daily
from kitsu.domain.operations.backup.files import MediaFiles
from kitsu.domain.operations.purge import purge
from kitsu.domain.operations.schedules import RunBackup, RunPurge
from kitsu.jobs.registry import JobContext, runs

FIRST_DELAY = timedelta(minutes=1)


class FilesLeftError(Exception):
    """The media store did not delete some files."""


@runs(RunPurge, limit=timedelta(hours=1), first_delay=FIRST_DELAY, at_once=1)
async def run_purge(context: JobContext, _: RunPurge) -> None:
    media = MediaStore(context.settings.media_url, context.settings.media_s3_endpoint)
    _counts, files_left = await purge(context.engine, OrphanFiles(context.engine, media))
    if files_left:
        raise FilesLeftError(f"the media store did not delete {files_left} stray files: check MEDIA_URL")


@runs(RunBackup, limit=timedelta(hours=6), first_delay=FIRST_DELAY, at_once=1)
async def run_backup(context: JobContext, job: RunBackup) -> None:
    settings = context.settings
    media = MediaFiles(settings.media_url, settings.media_s3_endpoint)
    await take_daily(context.engine, media, Path(settings.backup_folder), job.due_at, settings.backup_keep_days)
