"""The `kitsu` command. Each module has a few commands."""

import sys
from typing import Any

import click
import structlog

from kitsu import __version__
from kitsu.cli import accounts, backup, check, imports, invite, mail, migrate, run, sessions, shells, users, worker
from kitsu.db.embedded import EmbeddedError
from kitsu.db.migrations import SchemaError
from kitsu.errors import AppError
from kitsu.observability.tracing import TracingUnavailable
from kitsu.settings import SettingsError


class Commands(click.Group):
    """The commands. Of errors that an operator can fix they print the message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AppError, EmbeddedError, SchemaError, SettingsError, TracingUnavailable) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kitsu")
def main() -> None:
    """Kitsu, the backend of an anime catalogue and tracking site.

    Settings come from the environment and from .env in this folder; .env.example lists them.
    """
    # Logs go to standard error: standard output has only the results of a command.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


for _module in (run, worker, migrate, imports, accounts, users, invite, sessions, check, backup, mail, shells):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            main.add_command(_command)
