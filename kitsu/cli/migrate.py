"""`kitsu migrate` and `kitsu makemigration`."""

import click

from kitsu.cli.database import with_database
from kitsu.db import migrations


@click.command()
@click.argument("revision", default="head")
def migrate(revision: str) -> None:
    """Bring the database to the schema of this version.

    REVISION is another one to go to, up or down; `base` for an empty database. Going down loses what the older
    schema has no place for.
    """

    def waiting() -> None:
        click.echo("Another instance is migrating this database; waiting for it.")

    before, after = with_database(lambda engine: migrations.migrate(engine, revision, waiting=waiting))
    if before == after:
        click.echo(f"The database is at {after or 'base'} already.")
    else:
        click.echo(f"Migrated the database from {before or 'nothing'} to {after or 'nothing'}.")


@click.command()
@click.argument("message")
def makemigration(message: str) -> None:
    """Write a new revision from what the models have and the database lacks."""
    path = with_database(lambda engine: migrations.make_revision(engine, message))
    click.echo(f"Wrote {path}: read it, then run `kitsu migrate`.")
