"""The `kitsu` command. Each module holds a few commands; a message for a person and an exit code, never a traceback."""

import sys

import click
import structlog

from kitsu import __version__
from kitsu.cli.accounts import createsuperuser, purge, settle_emails
from kitsu.cli.backup import backup, restore
from kitsu.cli.check import check
from kitsu.cli.import_catalogue import import_catalogue
from kitsu.cli.import_list import import_list
from kitsu.cli.migrate import makemigration, migrate
from kitsu.cli.run import run, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kitsu")
def main() -> None:
    """Kitsu, the backend of an anime catalogue and tracking site.

    Settings come from the environment and from .env in this folder; .env.example lists them.
    """
    # What a command says is on standard output; what it logs beside that is not.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


for _command in (
    run,
    serve,
    migrate,
    makemigration,
    import_catalogue,
    import_list,
    createsuperuser,
    check,
    purge,
    settle_emails,
    backup,
    restore,
):
    main.add_command(_command)
