"""`kitsu import-list`."""

import sys
from pathlib import Path
from typing import get_args

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import with_database
from kitsu.db.migrations import check_schema
from kitsu.domain.accounts.administrators import user_of
from kitsu.domain.viewer.list_import.entries import ListFileError
from kitsu.domain.viewer.list_import.files import MAX_BYTES
from kitsu.domain.viewer.list_import.importing import ImportReport, ListImporter, Policy


@click.command("import-list")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--user", "email", required=True, help="The e-mail of the user whose library it is.")
@click.option(
    "--policy",
    type=click.Choice(get_args(Policy)),
    default="keep",
    show_default=True,
    help="What becomes of an entry that is there already.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def import_list(file: Path, email: str, policy: Policy, *, dry_run: bool) -> None:
    """Bring the list of FILE into a user's library.

    FILE is an export of MyAnimeList (XML, gzip-compressed or not) or a list of AniList (JSON). The exit code is 1 when
    an entry was not imported.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}.") from error

    async def work(engine: AsyncEngine) -> ImportReport:
        await check_schema(engine)
        user_id = await user_of(engine, email)
        if user_id is None:
            raise click.ClickException(f"There is no user with the e-mail {email}.")
        return await ListImporter(engine).run(user_id, data, policy, dry_run=dry_run)

    try:
        report = with_database(work)
    except ListFileError as error:
        raise click.ClickException(f"{file}: {error} Nothing was imported.") from error
    for item in report.not_imported:
        hint = f" Is it {item.suggestion.title!r} ({item.suggestion.anime_id})?" if item.suggestion else ""
        click.echo(f"not imported {item.number} {item.title or ''}: {item.reason}{hint}", err=True)
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
    counts += f"{len(report.not_imported):,} not imported"
    click.echo(counts + (" (a dry run: nothing was written)" if dry_run else ""))
    if report.not_imported:
        sys.exit(1)
