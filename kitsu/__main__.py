"""`python -m kitsu` and the `kitsu` command."""

import atexit
import os
import signal
import sys


class _Exit:
    """Ends the process after a command, before the interpreter's teardown.

    In about one of twenty runs, a thread of obstore 0.12.1 calls Python during the teardown, which aborts the process.
    """

    code: int | None = None

    def __call__(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


# Registered first, so it runs last.
_exit = _Exit()
atexit.register(_exit)

# During the imports, which take a second, Ctrl-C ends the process without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from kitsu.cli import main as cli  # noqa: E402 - see above

signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Run a command and end the process with its exit code."""
    try:
        cli()
    except SystemExit as end:
        _exit.code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    _exit.code = 0


if __name__ == "__main__":
    main()
