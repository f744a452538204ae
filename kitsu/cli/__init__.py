"""The `kitsu` command. Each module holds a few commands; an error is a message and an exit code, never a traceback."""

import sys
from typing import Any

import click
import structlog

from kitsu import __version__
from kitsu.cli import accounts, backup, check, imports, migrate, run
from kitsu.db.embedded import EmbeddedError
from kitsu.db.migrations import SchemaError
from kitsu.observability.tracing import TracingUnavailable
from kitsu.settings import SettingsError


class Commands(click.Group):
    """The commands. The message of an error that an operator can fix is all that they print of it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ClickException."""
        try:
            return super().invoke(ctx)
        except (EmbeddedError, SchemaError, SettingsError, TracingUnavailable) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kitsu")
def main() -> None:
    """Kitsu, the backend of an anime catalogue and tracking site.

    Settings come from the environment and from .env in this folder; .env.example lists them.
    """
    # Standard output has the results of a command only; logs go to standard error.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


for _module in (run, migrate, imports, accounts, check, backup):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            main.add_command(_command)
