"""`kitsu mail-test` and `kitsu send-reset-mail`."""

import asyncio

import click
from jinja2 import TemplateError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from uuid_utils.compat import uuid7

from kitsu.cli.database import with_database
from kitsu.domain.accounts.administrators import find_user_id
from kitsu.domain.accounts.recovery import send_reset_mail as send_reset
from kitsu.mail.mailer import Mailer
from kitsu.mail.transports import MailError
from kitsu.settings import load_settings


@click.command("mail-test")
@click.argument("address")
def mail_test(address: str) -> None:
    """Send a test mail to ADDRESS, now and without the worker, and print the result."""
    settings = load_settings()
    try:
        asyncio.run(Mailer(settings).send("test", address, uuid7()))
    except MailError as error:
        raise click.ClickException(f"The mail was not sent by {settings.mail_url}: {error}") from error
    except TemplateError as error:
        raise click.ClickException(f"A template in MAIL_TEMPLATES is wrong: {error}") from error
    click.echo(f"The mail was sent by {settings.mail_url}.")


@click.command("send-reset-mail")
@click.argument("email")
def send_reset_mail(email: str) -> None:
    """Send the user with this e-mail a link to reset the password. The audit log has an entry.

    The worker sends the mail.
    """
    secret_key = load_settings().secret_key

    async def work(engine: AsyncEngine) -> None:
        user_id = await find_user_id(engine, email)
        async with AsyncSession(engine) as session:
            await send_reset(session, secret_key, user_id, by=None)

    with_database(work, is_migrated=True)
    click.echo(f"The worker sends a mail to {email}. Its link works for one hour.")
