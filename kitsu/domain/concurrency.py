"""How many requests a worker handles at once, and for how long. Further requests wait for a slot, or are rejected.

Without a limit all requests would share the processor and the database. Under overload each would take longer, until
all of them run into timeouts.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from kitsu.db.engine import checked_out

QUEUE_TIMEOUT_SECONDS = 0.6
"""How long a request waits for a slot. With the timeouts of the database it gets its response within 3 seconds."""
DEADLINE_CHECK_SECONDS = 0.05
"""Interval of one check of all deadlines: a timer for each request would cost more than all else here."""


@dataclass(slots=True)
class _Slot:
    limiter: "ConcurrencyLimiter"
    requested_at: float  # when the request arrived, on the loop's clock
    deadline: "RequestDeadline | None" = None


_current: ContextVar[_Slot | None] = ContextVar("slot", default=None)


class ConcurrencyLimiter:
    """Gives slots to requests. A request that waits for something else may release its slot meanwhile."""

    def __init__(self, slots: int, waiting: int) -> None:
        """`waiting` is how many requests may wait for one of the `slots`."""
        self._slots = slots
        self._queue_size = waiting
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._watched: set[RequestDeadline] = set()
        self._is_checking = False
        self.in_flight = 0
        self.refused = 0

    async def acquire(self) -> bool:
        """Get a slot for the request until `finish`, after some waiting if needed. Return False if it gets none."""
        requested_at = asyncio.get_running_loop().time()
        if self.in_flight < self._slots:
            self.in_flight += 1
        elif len(self._queue) >= self._queue_size or not await self._wait():
            self.refused += 1
            return False
        _current.set(_Slot(self, requested_at))
        return True

    async def _wait(self) -> bool:
        loop = asyncio.get_running_loop()
        slot: asyncio.Future[bool] = loop.create_future()
        self._queue.append(slot)
        # Not asyncio.timeout: it could expire at the moment in which the slot is given.
        timer = loop.call_later(QUEUE_TIMEOUT_SECONDS, self._refuse, slot)
        try:
            return await slot
        except asyncio.CancelledError:
            if slot.cancelled():
                with suppress(ValueError):
                    self._queue.remove(slot)
            elif slot.result():
                self.release()
            raise
        finally:
            timer.cancel()

    def _refuse(self, slot: asyncio.Future[bool]) -> None:
        if not slot.done():
            self._queue.remove(slot)
            slot.set_result(False)

    def finish(self) -> None:
        """Release the slot of a request after its response."""
        _current.set(None)
        self.release()

    def release(self) -> None:
        """Release a slot, for good or for a while."""
        self.in_flight -= 1
        while self._queue and self.in_flight < self._slots:
            # First in, first out. Under overload last in, first out: most new requests are then served soon, where
            # first in, first out would serve all of them late.
            is_overloaded = len(self._queue) > self._queue_size // 2
            slot = self._queue.pop() if is_overloaded else self._queue.popleft()
            if not slot.done():
                self.in_flight += 1
                slot.set_result(True)

    def watch(self, deadline: "RequestDeadline") -> None:
        """Cancel the request when its deadline has passed."""
        self._watched.add(deadline)
        if not self._is_checking:
            self._schedule_check()

    def unwatch(self, deadline: "RequestDeadline") -> None:
        """Ignore the deadline from now on."""
        self._watched.discard(deadline)

    def _schedule_check(self) -> None:
        self._is_checking = True
        asyncio.get_running_loop().call_later(DEADLINE_CHECK_SECONDS, self._check_deadlines)

    def _check_deadlines(self) -> None:
        now = asyncio.get_running_loop().time()
        for deadline in [deadline for deadline in self._watched if deadline.ends_at <= now]:
            self._watched.discard(deadline)
            deadline.expire()
        self._is_checking = False
        if self._watched:
            self._schedule_check()


class RequestDeadline:
    """Raises TimeoutError some seconds after the request arrived. Time within `released_slot` does not count."""

    def __init__(self, seconds: float) -> None:
        self._slot = _current.get()
        self.ends_at = self._slot.requested_at + seconds if self._slot else 0.0
        """On the loop's clock; not used without a slot."""
        self.is_expired = False
        self._connections: set[Any] = set()

    def expire(self) -> None:
        """Cancel the request."""
        self.is_expired = True
        for connection in self._connections:
            connection.terminate()
        self._task.cancel()

    def stop(self) -> None:
        """Remove the limit on the time of the request."""
        if self._slot is not None and self._slot.deadline is self:
            self._slot.deadline = None
            self._slot.limiter.unwatch(self)

    async def __aenter__(self) -> None:
        if self._slot is not None:
            self._task: Any = asyncio.current_task()
            self._slot.deadline = self
            self._slot.limiter.watch(self)
            checked_out.set(self._connections)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._slot is None:
            return
        self.stop()
        checked_out.set(None)
        # As in asyncio.timeout: another cancellation of the task is not replaced.
        if self.is_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


@contextmanager
def released_slot() -> Iterator[None]:
    """Release the slot of this request while it needs neither this worker's processor nor its database."""
    slot = _current.get()
    if slot is None:
        yield
        return
    token = _current.set(None)  # a nested call has no slot to release
    clock = asyncio.get_running_loop().time
    began = clock()
    deadline = slot.deadline
    if deadline is not None:
        slot.limiter.unwatch(deadline)
    slot.limiter.release()
    try:
        yield
    finally:
        if deadline is not None and not deadline.is_expired:
            deadline.ends_at += clock() - began
            slot.limiter.watch(deadline)
        slot.limiter.in_flight += 1  # even beyond the limit
        _current.reset(token)
