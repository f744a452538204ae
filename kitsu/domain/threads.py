"""Work that keeps a processor busy, on threads of its own: neither the event loop nor a database connection waits."""

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


NICENESS = 10


def _stand_back() -> None:
    """Where processors are short, what answers in a moment goes before what takes long: requests, and the database."""
    if sys.platform == "linux":
        # There a thread has a priority of its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Threads:
    """A few threads, and a queue in front of them that ends."""

    def __init__(self, name: str, *, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_stand_back)
        self._room = threads + queue
        self.busy = 0
        """How much is being worked on or waits."""

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns. Raises ServiceUnavailable when too much waits already."""
        if self.busy >= self._room:
            raise ServiceUnavailable
        self.busy += 1
        try:
            with released_slot():
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.busy -= 1

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
