"""`python -m kitsu` and the `kitsu` command."""

import atexit
import os
import signal
import sys
from typing import NoReturn

# The imports take a second, in which nothing has begun: a Ctrl-C just ends the process, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from kitsu.cli import main as cli  # noqa: E402 - see above

signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> NoReturn:
    """Run a command and end the process, without taking the interpreter down.

    A thread of obstore's that wants the interpreter meanwhile, such as to drop an answer that was read, aborts it: one
    time in ten.
    """
    try:
        cli()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        code = 0
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter would do
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
