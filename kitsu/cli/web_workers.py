"""The web workers as their parent sees them: those that end are replaced, and those that can't start end the service.

Granian ends the service when it has to replace the same worker twice within 5.5 s, also if the worker was killed. It
goes on for ever when a worker takes longer than that to fail. So the workers report that they have started, and
`WorkerStarts` decides.
"""

import math
import multiprocessing
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

MAX_FAILED_STARTS = 2
"""How often the same worker may end by itself before it has started."""
MAX_KILLED_STARTS = 5
"""How often the same worker may be killed before it has started, while no other worker serves.

A kill says nothing about the settings.
"""
SERVING_MB = 50
"""Memory that a worker needs for its first requests, beyond what it takes at rest."""


class WorkerStarts(dict[int, float]):
    """Replaces `respawned_wrks` of a server: when it last started each worker again.

    The server reads it for each worker that has ended, and ends the service if it was a moment ago.
    """

    def __init__(self, server: Any, memory_mb: int) -> None:
        """`server` is Granian's, which has no type. `memory_mb` is the limit of a worker's memory; 0: none."""
        super().__init__()
        self._server = server
        self._reports, reporting = multiprocessing.Pipe(duplex=False)
        # If the parent has no time to read, a report is lost. No worker waits for it.
        os.set_blocking(reporting.fileno(), False)
        self._started: set[int] = set()
        self._failed: dict[int, int] = {}
        self.problem: str | None = None
        """Why the service ends."""
        self.load: Callable[[str], Any] = partial(_load, reporting, memory_mb)
        """Returns the application in a worker, for `Granian.serve`."""
        server.respawned_wrks = self

    def get(self, index: int, _: object = None) -> float:
        """Return the largest number for a worker that must not be started again, and the smallest for any other."""
        self._read_reports()
        process = self._server.wrks[index].inner
        running = {worker.inner.pid for worker in self._server.wrks}
        is_started, self._started = process.pid in self._started, self._started & running
        if is_started:
            self._failed.pop(index, None)
        elif self.problem is None:
            self.problem = self._failure(index, process.exitcode)
        return -math.inf if self.problem is None else math.inf

    def _read_reports(self) -> None:
        while self._reports.poll():
            pid, problem = self._reports.recv()
            self.problem = self.problem or problem
            self._started.add(pid)

    def _failure(self, index: int, code: int) -> str | None:
        """Count the end of a worker that has not started; return an error if that is one too many."""
        count = self._failed[index] = self._failed.get(index, 0) + 1
        if code < 0:
            if self._started or count < MAX_KILLED_STARTS:
                return None
            return (
                f"Worker {index + 1} was killed {count} times before it served, with signal {-code}. Check whether "
                f"the machine has memory for {self._server.workers} workers; WORKERS sets their number."
            )
        if count < MAX_FAILED_STARTS:
            return None
        return f"Worker {index + 1} ended {count} times before it served, with code {code}; the reason is above."


def _load(reporting: Connection, memory_mb: int, target: str) -> Any:
    """Return the application, which reports its start, in a worker."""
    app = resolve_name(target)()

    async def report() -> None:
        problem = _memory_problem(memory_mb)
        with suppress(BlockingIOError):
            reporting.send((os.getpid(), problem))
        if problem:
            # An exception would be logged with a traceback; the parent prints the problem.
            os._exit(os.EX_CONFIG)

    app.on_startup.append(report)
    return app


def _memory_problem(memory_mb: int) -> str | None:
    at_rest = _resident_mb()
    if not memory_mb or memory_mb >= at_rest + SERVING_MB:
        return None
    return (
        f"WORKER_MEMORY_MB is {memory_mb}, but a worker takes {at_rest} MB at rest, and some {SERVING_MB} MB more when "
        f"it serves: every worker would be replaced again and again. Set it to {at_rest + SERVING_MB} or more, or to 0 "
        "for no limit."
    )


def _resident_mb() -> int:
    """Return the memory of this process in MiB; 0 on systems without /proc."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() >> 20
    return 0
