"""`kitsu invite`."""

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.cli.database import with_database
from kitsu.domain.accounts.invitations import InvitationRules, InvitationService
from kitsu.errors import InvalidRequest
from kitsu.settings import load_settings


@click.command()
@click.argument("email", required=False)
def invite(email: str | None) -> None:
    """Print the link of an invitation, with which one account can be created within 14 days.

    With EMAIL only an account with that address, and the link is also sent to it.
    """
    settings = load_settings()
    sends_mail = settings.mail_url.is_set_up
    rules = InvitationRules(secret_key=settings.secret_key, front_end_url=settings.frontend_url, sends_mail=sends_mail)

    async def work(engine: AsyncEngine) -> str:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            return await InvitationService(session, rules=rules).invite(email, by=None)

    try:
        click.echo(with_database(work, is_migrated=True))
    except InvalidRequest as error:
        raise click.ClickException("; ".join(detail.message for detail in error.details or [])) from error
    if email:
        sent = f"The link is sent to {email} by the worker." if sends_mail else "No mail is sent: set MAIL_URL."
        click.echo(sent, err=True)
    if settings.registration == "closed":
        click.echo("REGISTRATION=closed: no invitation is accepted.", err=True)
