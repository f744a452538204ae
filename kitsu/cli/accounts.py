"""`kitsu createuser`, `kitsu createsuperuser`, `kitsu settle-emails` and `kitsu purge`."""

from functools import partial

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.cli.database import with_database
from kitsu.domain.accounts import email_pairs
from kitsu.domain.accounts.administrators import NAMES, find_user_id, give_role
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.second_factors import reset_second_factors
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations import purge as purging
from kitsu.errors import BadRequest, InvalidRequest
from kitsu.settings import load_settings

EMAIL = click.option("--email", required=True, help="The user's e-mail.")
PASSWORD = click.option("--password", help="Prompted for when it is not given and the account is new.")


@click.command()
@EMAIL
@PASSWORD
@click.option("--role", type=click.Choice(list(NAMES)), required=True, help="What the user may do.")
def createuser(email: str, password: str | None, role: Role) -> None:
    """Create a user, or give an existing one a role. An editor may edit the catalogue.

    An existing user keeps the old password unless --password gives a new one.
    """
    prompt = partial(click.prompt, "Password", hide_input=True, confirmation_prompt=True)
    try:
        click.echo(with_database(lambda engine: give_role(engine, email, password, role, prompt), is_migrated=True))
    except InvalidRequest as error:
        problems = "; ".join(f"{detail.field}: {detail.message}" for detail in error.details or [])
        raise click.ClickException(problems) from error
    except BadRequest as error:
        raise click.ClickException(error.message) from error


@click.command()
@EMAIL
@PASSWORD
@click.pass_context
def createsuperuser(context: click.Context, email: str, password: str | None) -> None:
    """Make an administrator of a new or an existing user.

    An existing user keeps the old password unless --password gives a new one.
    """
    context.invoke(createuser, email=email, password=password, role="admin")


@click.command("reset-second-factor")
@click.argument("email")
def reset_second_factor(email: str) -> None:
    """Remove the second factor of the user with this e-mail, who has lost it. The audit log has an entry."""
    notifies = load_settings().sends_notices

    async def reset(engine: AsyncEngine) -> None:
        user_id = await find_user_id(engine, email)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            await reset_second_factors(session, user_id, by=None, notifies=notifies)

    with_database(reset, is_migrated=True)
    click.echo(f"{email} signs in with the password alone until a second factor is set up again.")


@click.command("settle-emails")
@click.option("--keep", multiple=True, help="Keep the account whose e-mail is spelled like this; repeatable.")
@click.option("--yes", is_flag=True, help="Merge; without it the command only reports what it would do.")
def settle_emails(keep: tuple[str, ...], *, yes: bool) -> None:
    """Merge accounts whose e-mails differ only in case, before `kitsu migrate` takes a database over.

    Of each pair the account stays that --keep names, else the one that watched last. It gets the other's favourites
    and progress. The other account is deleted, with its password.
    """
    try:
        pairs = with_database(lambda engine: email_pairs.settle(engine, frozenset(keep), dry_run=not yes))
    except ValueError as error:
        raise click.ClickException(f"{error} Nothing was changed.") from error
    for pair in pairs:
        for account in pair:
            verb = "keep " if account is pair[0] else "merge"
            click.echo(f"{verb} {account.email} ({account.favorites} favourites, {account.progress} in progress)")
    if not pairs:
        click.echo("No e-mails differ only in case.")
    elif not yes:
        click.echo("Nothing was changed: run it again with --yes, and --keep EMAIL where another account should stay.")


@click.command()
def purge() -> None:
    """Delete what is no longer needed, such as ended sessions, used refresh tokens and stray files."""
    settings = load_settings()
    media = MediaStore(settings.media_url, settings.media_s3_endpoint)
    counts, left = with_database(lambda engine: purging.purge(engine, OrphanFiles(engine, media)), is_migrated=True)
    removed = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    click.echo(f"Removed {removed}.")
    if left:
        raise click.ClickException("The media store did not delete some stray files: check MEDIA_URL, then try again.")
