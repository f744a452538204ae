"""`python -m kitsu` and the `kitsu` command."""

import signal

# The imports take a second, in which nothing has begun: a Ctrl-C just ends the process, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from kitsu.cli import main  # noqa: E402 - see above

signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["main"]

if __name__ == "__main__":
    main()
