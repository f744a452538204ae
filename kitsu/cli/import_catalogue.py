"""`kitsu import-catalogue`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import with_database
from kitsu.db.migrations import check_schema
from kitsu.domain.catalogue import importing as catalogue_import
from kitsu.domain.catalogue.importing import CatalogueFileError, ImportBusyError, Report
from kitsu.domain.operations import command_runs


@click.command("import-catalogue")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def import_catalogue(file: Path, *, dry_run: bool) -> None:
    """Bring the anime of FILE into the catalogue.

    FILE is of the anime-offline-database: .jsonl, .jsonl.zst or .json. All or nothing; a field that an editor changed
    since the last import is kept. The exit code is 1 when an entry was refused.
    """
    report = None

    async def work(engine: AsyncEngine) -> None:
        nonlocal report
        await check_schema(engine)
        with _progress(file) as progress:
            report = await catalogue_import.import_catalogue(engine, file, dry_run=dry_run, progress=progress)
        if not dry_run:
            await command_runs.note(engine, command_runs.IMPORT)
            if report.added:
                await catalogue_import.tidy(engine)

    try:
        with_database(work)
    except (CatalogueFileError, ImportBusyError) as error:
        raise click.ClickException(f"{error} Nothing was imported.") from error
    except KeyboardInterrupt:
        if report is None:
            raise click.ClickException("Interrupted; the catalogue is as it was.") from None
    if report is not None:
        _tell(report, dry_run=dry_run)
        if report.refused:
            sys.exit(1)


def _tell(report: Report, *, dry_run: bool) -> None:
    for number, reason in report.refused:
        click.echo(f"refused {number}: {reason}", err=True)
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
    counts += f"{len(report.refused):,} refused"
    click.echo(counts + (" (a dry run: nothing was written)" if dry_run else ""))
    if report.from_sample:
        click.echo(f"{report.from_sample:,} of those added took the place of sample titles.")
    if report.merged:
        click.echo(f"{report.merged:,} entries were the same anime as an earlier one of the file.")


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    try:
        size = file.stat().st_size
    except OSError:  # which the reader tells of
        size = 0
    if sys.stderr.isatty():
        columns = (TextColumn("reading"), BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=size)
            yield lambda done: bar.update(task, completed=done)
        return
    said = 0

    def say(done: int) -> None:
        nonlocal said
        if size and done * 10 // size > said:
            said = done * 10 // size
            click.echo(f"read {said * 10} % of {file.name}", err=True)

    yield say
