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
from kitsu.web.connections import ClientConnections
from kitsu.web.draining import Draining

PR_SET_PDEATHSIG = 1  # from sys/prctl.h of Linux


def serve_app() -> Litestar:
    """Return the application of a worker process, with its settings from the environment."""
    _end_with_parent()
    settings = load_settings()
    configure_logs(settings.log_level)
    app = create_app(settings)
    # Not in create_app: these belong to the process, by its sockets, its timer and its standard output.
    connections = ClientConnections()
    draining = Draining(app, connections, settings.stop_notice_seconds)
    for part in (connections, draining, StallGuard(settings.worker_stall_seconds), request_lines):
        app.on_startup.append(part.start)
        app.on_shutdown.append(part.stop)
    # Freeze start-up objects: a full collection over them blocks the event loop for about 100 ms.
    gc.collect()
    gc.freeze()
    # With Python's threshold of 700, collections took 4 % of the samples of a worker that stores progress.
    gc.set_threshold(5_000, 20, 20)
    return app


def _end_with_parent() -> None:
    """Have the kernel end this worker when its parent process is killed and can't do so itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent was killed before prctl
        sys.exit(1)
