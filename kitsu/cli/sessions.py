"""`kitsu sessions` and `kitsu end-sessions`."""

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.cli.database import with_database
from kitsu.domain.accounts.identities import Session
from kitsu.domain.accounts.user_sessions import UserSessions


@click.command()
@click.argument("email")
def sessions(email: str) -> None:
    """List the devices on which the user with this e-mail is signed in, last used first."""

    async def work(engine: AsyncEngine) -> list[Session]:
        async with AsyncSession(engine) as session:
            return await UserSessions(session).active(email)

    found = with_database(work, is_migrated=True)
    for each in found:
        times = f"{each.created_at:%Y-%m-%d %H:%M}  {each.last_used_at:%Y-%m-%d %H:%M}"
        click.echo(f"{each.id}  {times}  {each.ip or '-'}  {each.user_agent or 'unknown'}")
    if not found:
        click.echo(f"{email} is signed in on no device.")


@click.command("end-sessions")
@click.argument("email")
def end_sessions(email: str) -> None:
    """End all sessions of the user with this e-mail. The audit log has an entry."""

    async def work(engine: AsyncEngine) -> int:
        async with AsyncSession(engine) as session:
            return await UserSessions(session).end_all_of(email)

    number = with_database(work, is_migrated=True)
    click.echo(f"Ended {number} {'session' if number == 1 else 'sessions'} of {email}.")
