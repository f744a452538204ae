"""The jobs of accounts."""

from datetime import timedelta

from kitsu.domain.accounts.deletion import DeleteAccount
from kitsu.domain.accounts.deletion import delete_account as delete
from kitsu.domain.accounts.recovery import SendLink
from kitsu.domain.accounts.recovery import send_link as send
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.jobs.registry import JobContext, runs


@runs(DeleteAccount, limit=timedelta(hours=1), first_delay=timedelta(minutes=1), at_once=1)
async def delete_account(context: JobContext, job: DeleteAccount) -> None:
    media = MediaStore(context.settings.media_url, context.settings.media_s3_endpoint)
    await delete(context.engine, OrphanFiles(context.engine, media), job.user_id)


@runs(SendLink, limit=timedelta(minutes=1), retries=20)
async def send_link(context: JobContext, job: SendLink) -> None:
    await send(context.engine, context.settings.secret_key, job)
