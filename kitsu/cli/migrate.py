"""`kitsu migrate` and `kitsu makemigration`."""

from functools import partial

import click

from kitsu.cli.database import with_database
from kitsu.db import migrations


@click.command()
@click.argument("revision", default="head")
@click.option(
    "--rolling", is_flag=True, help="Refuse a schema that running instances of the old version can't serve with."
)
def migrate(revision: str, *, rolling: bool) -> None:
    """Migrate the database to the schema of this version, or to REVISION.

    REVISION may be an older one, or `base` for an empty database; data that the older schema has no place for is lost.
    """
    waiting = partial(click.echo, "Another instance is migrating this database; waiting for it.")
    locked = partial(click.echo, "A long transaction has a lock on a table; trying again for up to five minutes.")
    before, after = with_database(
        lambda engine: migrations.migrate(engine, revision, rolling=rolling, waiting=waiting, locked=locked)
    )
    if before == after:
        click.echo(f"The database is at {after or 'base'} already.")
    else:
        click.echo(f"Migrated the database from {before or 'nothing'} to {after or 'nothing'}.")


@click.command()
@click.argument("message")
def makemigration(message: str) -> None:
    """Write a revision with the differences between the models and the database."""
    path = with_database(lambda engine: migrations.make_revision(engine, message))
    if path is None:
        click.echo("The models and the database do not differ: no revision was written.")
    else:
        click.echo(f"Wrote {path}: read it, then run `kitsu migrate`.")
