"""The stall guard, which ends a worker whose event loop is blocked."""

import asyncio
import faulthandler
import os
import threading
from contextlib import suppress
from tempfile import TemporaryFile

import structlog

from kitsu.observability.logs import request_lines

BACKSTOP_SECONDS = 5
"""Time that faulthandler's timer allows beyond the limit, for the thread to write its log event first."""

log = structlog.get_logger("kitsu.stall")


class StallGuard:
    """Ends the process when its event loop does not run for `seconds`; 0 disables it.

    A daemon thread counts its own ticks since the loop last ran. A process that is stopped or short of CPU time does
    not tick, so that time does not count. C code that holds the GIL stops the thread too: faulthandler's timer, which
    needs no GIL, then ends the process. There is one such timer per process, so start one guard only.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._interval = min(1.0, seconds / 10)
        self._has_loop_run = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-guard", daemon=True)
        self._heartbeat: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Watch the running event loop."""
        if self._seconds:
            self._beat(asyncio.get_running_loop())
            self._arm()
            self._thread.start()

    async def stop(self) -> None:
        """End the watch. It is safe to call without a start."""
        self._stopped.set()
        if self._heartbeat:
            self._heartbeat.cancel()
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._has_loop_run = True
        self._heartbeat = loop.call_later(self._interval, self._beat, loop)

    def _watch(self) -> None:
        ticks = 0
        while not self._stopped.wait(self._interval):
            ticks += 1
            if self._has_loop_run:
                self._has_loop_run = False
                ticks = 0
                self._arm()
            elif ticks * self._interval >= self._seconds:
                self._end()

    def _arm(self) -> None:
        """Restart faulthandler's timer, which writes the stacks to stderr and ends the process."""
        faulthandler.dump_traceback_later(self._seconds + BACKSTOP_SECONDS, exit=True)

    def _end(self) -> None:
        try:
            log.critical("worker stalled", seconds=self._seconds, stacks=_stacks())
            request_lines.flush()
        finally:
            os._exit(os.EX_SOFTWARE)


def _stacks() -> list[str]:
    """Return the stack of each thread: files, lines and functions, without any value."""
    with suppress(OSError), TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        if stacks := file.read().decode(errors="replace").strip():
            return stacks.split("\n\n")
    # The folder for temporary files is full or not writable.
    faulthandler.dump_traceback(all_threads=True)
    return []
