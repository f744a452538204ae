"""A command within the tests' own process, for what it says and its exit code.

A process of its own spends over a second on its imports. What needs one is in `tests.cli.process`: signals, terminals,
several commands at once, a service; and for each command one start that shows the real entry.
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

# An invocation has this process's streams, environment and working folder to itself.
_alone = threading.Lock()


def invoke(folder: Path, *arguments: str, database: URL | None = None, **settings: str) -> tuple[int, str, str]:
    """Run `kitsu` in a folder, and return its exit code and what it wrote to stdout and stderr.

    Like a process that `tests.cli.process.kitsu` starts it sees no other settings than these, and may neither show a
    traceback nor the secret key; an exception that would end such a process is raised here. Commands start event loops
    of their own, so an async test takes `invoked`. `run` and `serve` set signal handlers, which takes the main thread.
    """
    environment: dict[str, str | None] = {name: None for name in os.environ if name != "PATH"}
    environment |= {"SECRET_KEY": SECRET_KEY, "PORT": str(free_port())}
    if database is not None:
        environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
    with (
        _alone,
        _left_as_found(),
        chdir(folder),
        patch("kitsu.cli.run._serve", side_effect=AssertionError("it serves")),
    ):
        result = CliRunner().invoke(main, arguments, env=environment | settings, catch_exceptions=False)
    assert "Traceback" not in result.output, result.output
    assert "Exception" not in result.output, result.output
    assert SECRET_KEY not in result.output
    return result.exit_code, result.stdout, result.stderr


async def invoked(folder: Path, *arguments: str, database: URL | None = None, **settings: str) -> tuple[int, str, str]:
    """The same beside the event loop of an async test."""
    return await asyncio.to_thread(invoke, folder, *arguments, database=database, **settings)


@contextmanager
def _left_as_found() -> Iterator[None]:
    """What a command sets for its whole process is as it was before.

    Its logs begin with structlog's defaults, as in a process. Above all they are not the tests' own: those keep a
    logger once it was used, and one that a command used writes to a stream that is closed after it.
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
