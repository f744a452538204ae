"""Run a command within the process of the tests, for its output and exit code.

A process of its own needs over a second for its imports. `tests.cli.process` starts one for signals, terminals,
concurrent commands and a service, and once for each command.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from unittest.mock import patch

import structlog
from click.testing import CliRunner
from sqlalchemy.engine import URL

from kitsu.cli import main
from tests.cli.process import SECRET_KEY, free_port

# An invocation uses the streams, environment and working directory of this process alone.
_alone = threading.Lock()


def invoke(folder: Path, *arguments: str, database: URL | None = None, **settings: str) -> tuple[int, str, str]:
    """Run `kitsu` in a folder, and return its exit code and what it wrote to stdout and stderr.

    As in `tests.cli.process.kitsu` the command gets only these settings, and may print neither a traceback nor the
    secret key; unexpected exceptions are raised here. Commands start an event loop, so async tests use `invoked`. `run`
    and `serve` set signal handlers, which needs the main thread.
    """
    environment: dict[str, str | None] = {name: None for name in os.environ if name != "PATH"}
    environment |= {"SECRET_KEY": SECRET_KEY, "PORT": str(free_port())}
    if database is not None:
        environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
    with (
        _alone,
        _restored_process(),
        chdir(folder),
        patch("kitsu.cli.run._serve", side_effect=AssertionError("it serves")),
    ):
        result = CliRunner().invoke(main, arguments, env=environment | settings, catch_exceptions=False)
    assert "Traceback" not in result.output, result.output
    assert "Exception" not in result.output, result.output
    assert SECRET_KEY not in result.output
    return result.exit_code, result.stdout, result.stderr


async def invoked(folder: Path, *arguments: str, database: URL | None = None, **settings: str) -> tuple[int, str, str]:
    """Do as `invoke` in an async test."""
    return await asyncio.to_thread(invoke, folder, *arguments, database=database, **settings)


@contextmanager
def _restored_process() -> Iterator[None]:
    """Restore what a command sets for the whole process: the log configuration and signal handlers.

    The command starts with the defaults of structlog, as in a process. The configuration of the tests caches loggers,
    and one that a command used would write to a closed stream.
    """
    logs = structlog.get_config()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    structlog.reset_defaults()
    try:
        yield
    finally:
        structlog.configure(**logs)
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
