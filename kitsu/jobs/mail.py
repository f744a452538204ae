"""The job that sends a mail."""

from datetime import timedelta
from functools import lru_cache

import structlog

from kitsu.domain.accounts.mail import SendMail, token_link
from kitsu.jobs.registry import JobContext, PermanentFailure, runs
from kitsu.mail.mailer import Mailer
from kitsu.mail.transports import MailRefused
from kitsu.settings import Settings

CONNECTIONS = 4
"""Mails that are sent at once, in all workers."""
RETRIES = 103
"""With the delays below a mail is tried for two days: after 10 s, 20 s, 40 s … and then every 30 minutes."""

log = structlog.get_logger("kitsu.jobs")


@lru_cache(maxsize=1)
def _mailer(settings: Settings) -> Mailer:
    return Mailer(settings)


@runs(
    SendMail,
    limit=timedelta(minutes=10),
    retries=RETRIES,
    first_delay=timedelta(seconds=10),
    max_delay=timedelta(minutes=30),
    at_once=CONNECTIONS,
)
async def send(context: JobContext, job: SendMail) -> None:
    values, settings = job.values, context.settings
    if job.token_id is not None:
        link = await token_link(
            context.engine, job.token_id, front_end_url=settings.frontend_url, secret_key=settings.secret_key
        )
        if link is None:
            log.info("mail dropped", template=job.template, reason="token_invalid")
            return
        values = {**values, "link": link}
    try:
        await _mailer(settings).send(job.template, job.to, job.mail_id, **values)
    except MailRefused as error:
        raise PermanentFailure(str(error)) from None
    log.info("mail sent", template=job.template)
