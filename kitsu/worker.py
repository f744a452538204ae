"""The worker process, as Granian starts it."""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys

from litestar import Litestar

from kitsu.app import create_app
from kitsu.observability.logs import configure_logs, request_lines
from kitsu.observability.stall import StallGuard
from kitsu.settings import load_settings
from kitsu.web.connections import ClientTimeouts

PR_SET_PDEATHSIG = 1
"""From Linux' sys/prctl.h."""


def serve_app() -> Litestar:
    """Return the application of a worker process, with the settings of its environment."""
    _end_with_parent()
    settings = load_settings()
    configure_logs(settings.log_level)
    app = create_app(settings)
    # Only here: both belong to a whole process, the socket options and the timer of the guard.
    client_timeouts = ClientTimeouts()
    app.on_startup.append(client_timeouts.start)
    app.on_shutdown.append(client_timeouts.stop)
    guard = StallGuard(settings.worker_stall_seconds)
    app.on_startup.append(guard.start)
    app.on_shutdown.append(guard.stop)
    app.on_startup.append(request_lines.start)
    app.on_shutdown.append(request_lines.stop)
    # Freeze start-up objects: a full collection over them blocks the event loop for about 100 ms.
    gc.collect()
    gc.freeze()
    return app


def _end_with_parent() -> None:
    """Have the kernel end this worker when the process that started it is killed, and can't do so itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it was killed before this worker could ask for that
        sys.exit(1)
