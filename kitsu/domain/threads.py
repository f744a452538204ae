"""Threads with a limited queue, for CPU-bound work, which would block the event loop."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kitsu.domain.concurrency import released_slot
from kitsu.errors import ServiceUnavailable

T = TypeVar("T")

NICENESS = 15  # requests and the database get the processor first


class Threads:
    def __init__(self, name: str, *, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_lower_priority)
        self._limit = threads + queue
        self.busy = 0
        """Calls in progress or in the queue."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work on a thread, without the request's slot. Raises ServiceUnavailable when the queue is full."""
        if self.busy >= self._limit:
            raise ServiceUnavailable
        self.busy += 1
        try:
            with released_slot():
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.busy -= 1

    def close(self) -> None:
        """Cancel queued work, and do not wait for the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    if sys.platform == "linux":  # where each thread has its own priority
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
