"""`kitsu listusers` and `kitsu changepassword`."""

import os
import sys
from datetime import UTC

import click
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import with_database
from kitsu.domain.accounts.administrators import NAMES, change_password, find_user_id
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.user_list import ListedUser, list_users
from kitsu.errors import InvalidRequest, NotFound
from kitsu.settings import load_settings

HEADINGS = ("role", "active", "verified", "2nd factor", "created", "last seen", "username", "e-mail")
# What has no fixed width is last: rows are printed before the longest one is known.
ROW = "{:6}  {:6}  {:8}  {:10}  {:16}  {:16}  {:32}  {}"


@click.command()
@click.option("--role", type=click.Choice(list(NAMES)), help="List only users with this role.")
@click.option("--inactive", is_flag=True, help="List only users whom an administrator or they themselves deactivated.")
@click.option("--search", metavar="TEXT", help="List only users whose e-mail or name has this text, in any case.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each user, one per line.")
def listusers(*, role: Role | None, inactive: bool, search: str | None, as_json: bool) -> None:
    """List the users by e-mail. Times are in UTC.

    A user was last seen when the tokens of a session were refreshed; ended sessions are stored for 30 days.
    """

    async def work(engine: AsyncEngine) -> int:
        number = 0
        async for user in list_users(engine, role=role, inactive=inactive, search=search):
            if number == 0 and not as_json:
                _print(ROW.format(*HEADINGS))
            _print(msgspec.json.encode(user).decode() if as_json else _row_of(user))
            number += 1
        return number

    try:
        number = with_database(work, is_migrated=True)
    except _ReaderGone:
        # Python would report the closed pipe once more when it flushes the output at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    if not number:
        click.echo("No user is listed.", err=True)


@click.command()
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the new password from standard input, without a prompt.")
def changepassword(email: str, *, password_stdin: bool) -> None:
    """Change the password of the user with this e-mail, and end all sessions. The audit log has an entry.

    The user is told by mail when MAIL_URL is set, as for a reset of the password.
    """
    settings = load_settings()
    user_id = with_database(lambda engine: find_user_id(engine, email), is_migrated=True)
    if user_id is None:
        raise NotFound(f"No user has the e-mail {email}.")
    if password_stdin:
        password = _password_of_input()
    else:
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True)

    async def work(engine: AsyncEngine) -> int:
        is_strict, notifies = settings.refuse_common_passwords, settings.mail_url.is_set_up or settings.sends_notices
        return await change_password(engine, email, password, refuse_common=is_strict, notifies=notifies)

    try:
        ended = with_database(work)
    except InvalidRequest as error:
        raise click.ClickException("; ".join(f"password: {each.message}" for each in error.details or [])) from error
    click.echo(f"The password of {email} is changed; {ended} {'session' if ended == 1 else 'sessions'} ended.")


def _password_of_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("password: Must be UTF-8") from error
    return text.removesuffix("\n").removesuffix("\r")


class _ReaderGone(Exception):
    """The program that reads the output has ended, such as `head`. `with_database` takes an OSError for its own."""


def _print(line: str) -> None:
    try:
        click.echo(line)
    except BrokenPipeError:
        raise _ReaderGone from None


def _row_of(user: ListedUser) -> str:
    flags = ("yes" if flag else "no" for flag in (user.is_active, user.email_verified, user.has_second_factor))
    times = (time and f"{time.astimezone(UTC):%Y-%m-%d %H:%M}" for time in (user.created_at, user.last_seen_at))
    row = ROW.format(user.role, *flags, *(time or "never" for time in times), user.username, user.email)
    # Control characters of an old row could change the terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in row)
