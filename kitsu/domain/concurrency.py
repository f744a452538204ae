"""How many requests a worker handles at once, and for how long. Further requests wait for a slot, or are rejected.

Without a limit all requests would share the processor and the database. Under overload each would take longer, until
all of them run into timeouts.
"""

import asyncio
import math
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from kitsu.db.engine import checked_out
from kitsu.deadlines import Deadline, Deadlines

QUEUE_TIMEOUT_SECONDS = 0.6
"""How long a request waits for a slot. With the timeouts of the database it gets its response within 3 seconds."""


@dataclass(slots=True)
class _Slot:
    limiter: "ConcurrencyLimiter"
    loop: asyncio.AbstractEventLoop
    requested_at: float  # when the request arrived, on the loop's clock
    deadline: "RequestDeadline | None" = None
    is_released: bool = False  # for a while


_current: ContextVar[_Slot | None] = ContextVar("slot", default=None)


def _held_slot() -> _Slot | None:
    slot = _current.get()
    return None if slot is None or slot.is_released else slot


class ConcurrencyLimiter:
    """Gives slots to requests. A request that waits for something else may release its slot meanwhile."""

    def __init__(self, slots: int, waiting: int) -> None:
        """`waiting` is how many requests may wait for one of the `slots`."""
        self._slots = slots
        self._queue_size = waiting
        self._queue: deque[asyncio.Future[bool]] = deque()
        self.deadlines = Deadlines()
        self.in_flight = 0
        self.refused = 0

    async def acquire(self) -> bool:
        """Get a slot for the request until `finish`, after some waiting if needed. Return False if it gets none."""
        loop = asyncio.get_running_loop()
        requested_at = loop.time()
        if self.in_flight < self._slots:
            self.in_flight += 1
        elif len(self._queue) >= self._queue_size or not await self._wait():
            self.refused += 1
            return False
        _current.set(_Slot(self, loop, requested_at))
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


class RequestDeadline(Deadline):
    """Raises TimeoutError some seconds after the request arrived. Time within `released_slot` does not count."""

    __slots__ = ("_connections", "_slot")

    def __init__(self, seconds: float) -> None:
        self._slot = slot = _held_slot()
        self._connections: set[Any] = set()
        if slot is not None:
            super().__init__(slot.limiter.deadlines, slot.requested_at + seconds)

    def __enter__(self) -> None:
        if self._slot is not None:
            super().__enter__()
            self._slot.deadline = self
            checked_out.set(self._connections)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._slot is not None:
            self._slot.deadline = None
            checked_out.set(None)
            super().__exit__(kind, error, _)

    def expire(self) -> None:
        """Cancel the request."""
        for connection in self._connections:
            connection.terminate()
        super().expire()

    def stop(self) -> None:
        """Remove the limit on the time of the request."""
        self.ends_at = math.inf


class released_slot:  # noqa: N801 - used like a function, and cheaper than a generator
    """Releases the slot of this request while it needs neither this worker's processor nor its database."""

    __slots__ = ("_began", "_ends_at", "_slot")

    def __enter__(self) -> None:
        self._slot = slot = _held_slot()  # a nested call has no slot to release
        if slot is None:
            return
        slot.is_released = True
        self._began = slot.loop.time()
        if slot.deadline is not None:
            self._ends_at = slot.deadline.ends_at
            slot.deadline.ends_at = math.inf
        slot.limiter.release()

    def __exit__(self, *_: object) -> None:
        slot = self._slot
        if slot is None:
            return
        if slot.deadline is not None:
            slot.deadline.ends_at = self._ends_at + slot.loop.time() - self._began
        slot.limiter.in_flight += 1  # even beyond the limit
        slot.is_released = False


class UserLocks:
    """A lock for each user: requests of one user wait for each other, before they wait for something that all share."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()  # of those in use

    def of(self, user_id: UUID) -> asyncio.Lock:
        """Return the lock of a user."""
        return self._locks.setdefault(user_id, asyncio.Lock())
