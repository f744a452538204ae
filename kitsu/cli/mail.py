"""`kitsu mail-test`."""

import asyncio

import click
from jinja2 import TemplateError
from uuid_utils.compat import uuid7

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
