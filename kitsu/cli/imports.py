"""`kitsu import-catalogue` and `kitsu import-list`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import with_database
from kitsu.domain.accounts.administrators import find_user_id
from kitsu.domain.catalogue import importing as catalogue_import
from kitsu.domain.catalogue.importing import CatalogueFileError, ImportBusyError, Report
from kitsu.domain.operations import command_runs
from kitsu.domain.viewer.list_import.entries import ListFileError
from kitsu.domain.viewer.list_import.files import MAX_BYTES
from kitsu.domain.viewer.list_import.importing import ListImporter
from kitsu.domain.viewer.list_import.policies import Policy
from kitsu.domain.viewer.list_import.reports import ImportReport
from kitsu.domain.viewer.list_import.storage import Upload

file_argument = click.argument("file", type=click.Path(path_type=Path))
dry_run_option = click.option("--dry-run", is_flag=True, help="Report what would be done, and write nothing.")


@click.command("import-catalogue")
@file_argument
@dry_run_option
def import_catalogue(file: Path, *, dry_run: bool) -> None:
    """Import the anime of FILE into the catalogue.

    FILE is of the anime-offline-database: .jsonl, .jsonl.zst or .json. All or nothing; a field that an editor changed
    since the last import is kept. The exit code is 1 when an entry was refused.
    """
    report = None

    async def work(engine: AsyncEngine) -> None:
        nonlocal report
        with _progress(file) as progress:
            report = await catalogue_import.import_catalogue(engine, file, dry_run=dry_run, progress=progress)
        if not dry_run:
            await command_runs.note(engine, command_runs.IMPORT)
            if report.added:
                await catalogue_import.tidy(engine)

    try:
        with_database(work, is_migrated=True)
    except (CatalogueFileError, ImportBusyError) as error:
        raise click.ClickException(f"{error} Nothing was imported.") from error
    except KeyboardInterrupt:  # with a report all is imported, and only the planner's statistics are missing
        if report is None:
            raise click.ClickException("Interrupted; the catalogue is as it was.") from None
    if report is not None:
        _echo_catalogue_report(report, dry_run=dry_run)
        sys.exit(bool(report.refused))


def _echo_catalogue_report(report: Report, *, dry_run: bool) -> None:
    for number, reason in report.refused:
        click.echo(f"refused {number}: {reason}", err=True)
    for number, text in report.remarks:
        click.echo(f"entry {number}: {text}", err=True)
    for title, numbers in report.kept_episodes:
        shown = ", ".join(map(str, numbers))
        click.echo(f"kept of {title}: {shown}, beyond its new number of episodes but watched or edited", err=True)
    _echo_counts(report, f"{len(report.refused):,} refused", dry_run=dry_run)
    if report.from_sample:
        click.echo(f"{report.from_sample:,} of those added took the place of sample titles.")
    if report.merged:
        click.echo(f"{report.merged:,} entries were the same anime as an earlier one of the file.")
    for count, what in (
        (report.identities.anime_merged, "anime were merged into others, as the file has them."),
        (report.identities.anime_split, "entries became anime of their own, with ids of others."),
        (report.identities.ids_moved, "external ids moved to another anime."),
        (report.identities.reviews, "differences of ids were left for editors: see GET /import-reviews."),
    ):
        if count:
            click.echo(f"{count:,} {what}")
    if report.values_left_out:
        click.echo(f"{report.values_left_out:,} wrong values were left out of their entries.")
    if report.left_out:
        click.echo(f"{report.left_out:,} entries were left out, because an editor deleted their anime.")


@click.command("import-list")
@file_argument
@click.option("--user", "email", required=True, help="The e-mail of the user who gets the list.")
@click.option(
    "--policy",
    type=click.Choice(get_args(Policy)),
    default="keep",
    show_default=True,
    help="What to do with an entry that differs from the one in the library.",
)
@dry_run_option
def import_list(file: Path, email: str, policy: Policy, *, dry_run: bool) -> None:
    """Import the list of FILE into a user's library.

    FILE is what POST /library/import takes. The exit code is 1 when an entry was not imported.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}.") from error

    async def work(engine: AsyncEngine) -> ImportReport:
        user_id = await find_user_id(engine, email)
        if user_id is None:
            raise click.ClickException(f"There is no user with the e-mail {email}.")
        return await ListImporter(engine).run(Upload(user_id, data, policy, dry_run), has_limits=False)

    try:
        report = with_database(work, is_migrated=True)
    except ListFileError as error:
        raise click.ClickException(f"{file}: {error} Nothing was imported.") from error
    for row in report.remarks:
        click.echo(f"{row.number} {row.title or ''}: {' '.join(row.remarks)}", err=True)
    for item in report.not_imported:
        hint = f" Is it {item.suggestion.title!r} ({item.suggestion.anime_id})?" if item.suggestion else ""
        click.echo(f"not imported {item.number} {item.title or ''}: {item.reason}{hint}", err=True)
    cut = report.remarks_count - len(report.remarks) + report.not_imported_count - len(report.not_imported)
    if cut:
        click.echo(
            f"{cut:,} further lines: GET /library/imports/{report.id}/rows returns all rows to the user.", err=True
        )
    rest = f"{report.kept_different:,} kept different, {report.not_imported_count:,} not imported"
    _echo_counts(report, rest, dry_run=dry_run)
    sys.exit(bool(report.not_imported_count))


def _echo_counts(report: Report | ImportReport, rest: str, *, dry_run: bool) -> None:
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, {rest}"
    click.echo(counts + (" (a dry run: nothing was written)" if dry_run else ""))


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the number of bytes read: in a bar on a terminal, else in a line for each tenth."""
    size = 0
    with suppress(OSError):  # the import reports it
        size = file.stat().st_size
    if sys.stderr.isatty():
        columns = (TextColumn("reading"), BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=size)
            yield lambda done: bar.update(task, completed=done)
        return
    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        if size and done * 10 // size > shown:
            shown = done * 10 // size
            click.echo(f"read {shown * 10} % of {file.name}", err=True)

    yield show
