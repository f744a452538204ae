"""Signals of a command before a server or an event loop handles them."""

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNAL_RETRY_SECONDS = 1.0


@contextmanager
def unwinding_on_signals() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and Ctrl-C, so that the start is unwound, until a server handles the signals."""

    def stop(*_: Any) -> None:
        # The signal may interrupt the making or closing of an event loop, which would print an error.
        sys.unraisablehook = lambda _: None
        warnings.simplefilter("ignore")
        # In a destructor the exception is lost, so the signal is repeated.
        signal.setitimer(signal.ITIMER_REAL, SIGNAL_RETRY_SECONDS)
        raise SystemExit(0)

    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # A second Ctrl-C must not interrupt the stop of the database.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
