"""`kitsu backup` and `kitsu restore`."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import with_database
from kitsu.db.migrations import head
from kitsu.domain.operations import backup as backups
from kitsu.domain.operations.backup.archive import BackupError
from kitsu.domain.operations.backup.files import MediaFiles
from kitsu.settings import load_settings

T = TypeVar("T")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write the database and the media store to FILE, a new file. The service may run meanwhile.

    All or nothing. It needs pg_dump, as new as the server.
    """
    taken = _run(lambda engine, media: backups.take(engine, media, file), "nothing was written")
    click.echo(f"Wrote {file}: {_contents(taken.revision, taken.files, taken.size)}.")
    if taken.lost:
        click.echo(
            f"Missing avatars: {taken.lost:,}. Their users changed them meanwhile, or their files are not in the "
            "media store (check MEDIA_URL if they are many). A restore leaves those users without an avatar.",
            err=True,
        )
    if not taken.is_noted:
        click.echo("The database could not store the time: `kitsu check --deploy` ignores this backup.", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def restore(file: Path) -> None:
    """Restore the backup in FILE into an empty database and an empty media store.

    All or nothing, and only after checking all of FILE. It needs pg_restore, as new as the server and as the backup's
    pg_dump.
    """
    restored = _run(lambda engine, media: backups.restore(engine, media, file), "nothing was restored")
    contents = _contents(restored.revision, restored.files, restored.size)
    click.echo(f"Restored {file}, taken at {restored.taken_at}: {contents}.")
    if restored.lost:
        click.echo(f"Users who lost their avatar: {restored.lost:,}. The backup has no file for it.", err=True)
    if restored.revision != head():
        click.echo(f"This version of Kitsu needs the schema {head()}: run `kitsu migrate`.")


def _contents(revision: str, files: int, size: int) -> str:
    """Describe what a backup has."""
    return f"the database (schema {revision}) and {files:,} {'file' if files == 1 else 'files'}, {size:,} bytes in all"


def _run(work: Callable[[AsyncEngine, MediaFiles], Awaitable[T]], undone: str) -> T:
    """Run the work on the database and the media store of the settings. Raises ClickException; then it is undone."""
    settings = load_settings()
    media = MediaFiles(settings.media_url, settings.media_s3_endpoint)
    # Ctrl-C cancels the work, which cleans up; SIGTERM does the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return with_database(lambda engine: work(engine, media))
    except BackupError as error:
        raise click.ClickException(f"{error} {undone.capitalize()}.") from error
    except KeyboardInterrupt:
        raise click.ClickException(f"Interrupted; {undone}.") from None
