"""How many requests a worker handles at once, and for how long each. The others wait for a slot, or are rejected.

Without a limit every request starts at once and shares the processor and the database with all others. It takes longer
the more there are, until everything runs into its timeouts and nothing is answered any more.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from kitsu.db.engine import checked_out

QUEUE_TIMEOUT_SECONDS = 0.6
"""How long a request waits for a slot. It waits for a connection and a statement too, all within three seconds."""
DEADLINE_CHECK_SECONDS = 0.05
"""How often deadlines are checked. A timer for each request would cost more than all else that is done here."""


class _Slot:
    """The slot of a request."""

    __slots__ = ("deadline", "limiter", "requested_at")

    def __init__(self, limiter: "ConcurrencyLimiter", requested_at: float) -> None:
        self.limiter = limiter
        self.requested_at = requested_at
        """When the request came, on the loop's clock."""
        self.deadline: RequestDeadline | None = None


_current: ContextVar[_Slot | None] = ContextVar("slot", default=None)


class ConcurrencyLimiter:
    """Gives slots to requests. The slot of a request that waits for something else is lent to others meanwhile."""

    def __init__(self, slots: int, waiting: int) -> None:
        """`waiting` is how many requests may wait for one of the `slots`."""
        self._slots = slots
        self._queue_size = waiting
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._watched: set[RequestDeadline] = set()
        self._is_checking = False
        self.in_flight = 0
        """Requests that have a slot."""
        self.refused = 0

    async def acquire(self) -> bool:
        """Return whether the request has a slot, until `finish`: at once, or after some waiting."""
        loop = asyncio.get_running_loop()
        requested_at = loop.time()
        if self.in_flight < self._slots:
            self.in_flight += 1
            _current.set(_Slot(self, requested_at))
            return True
        if len(self._queue) >= self._queue_size:
            self.refused += 1
            return False
        slot: asyncio.Future[bool] = loop.create_future()
        self._queue.append(slot)
        # Not asyncio.timeout: it could expire at the moment in which the slot is given.
        timer = loop.call_later(QUEUE_TIMEOUT_SECONDS, self._refuse, slot)
        try:
            is_given = await slot
        except asyncio.CancelledError:
            if slot.cancelled():
                with suppress(ValueError):
                    self._queue.remove(slot)
            elif slot.result():
                self.release()
            raise
        finally:
            timer.cancel()
        if is_given:
            _current.set(_Slot(self, requested_at))
        return is_given

    def finish(self) -> None:
        """Release the slot of a request that has been answered."""
        _current.set(None)
        self.release()

    def release(self) -> None:
        """Release a slot, for good or for a while."""
        self.in_flight -= 1
        while self._queue and self.in_flight < self._slots:
            # First in, first out, unless there is more to do than can be done: then all would be answered late, where
            # most of the newest are answered soon.
            is_overloaded = len(self._queue) > self._queue_size // 2
            slot = self._queue.pop() if is_overloaded else self._queue.popleft()
            if not slot.done():
                self.in_flight += 1
                slot.set_result(True)

    def reacquire(self) -> None:
        """Take a slot back that was released for a while, even beyond the limit."""
        self.in_flight += 1

    def watch(self, deadline: "RequestDeadline") -> None:
        """Cancel the request when its deadline has passed."""
        self._watched.add(deadline)
        if not self._is_checking:
            self._is_checking = True
            asyncio.get_running_loop().call_later(DEADLINE_CHECK_SECONDS, self._check_deadlines)

    def unwatch(self, deadline: "RequestDeadline") -> None:
        """Let the deadline pass."""
        self._watched.discard(deadline)

    def _check_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for deadline in [deadline for deadline in self._watched if deadline.ends_at <= now]:
            self._watched.discard(deadline)
            deadline.expire()
        self._is_checking = bool(self._watched)
        if self._is_checking:
            loop.call_later(DEADLINE_CHECK_SECONDS, self._check_deadlines)

    def _refuse(self, slot: asyncio.Future[bool]) -> None:
        if not slot.done():
            self._queue.remove(slot)
            self.refused += 1
            slot.set_result(False)


class RequestDeadline:
    """Raises TimeoutError some seconds after the request came, waiting for its slot included, `released_slot` not."""

    def __init__(self, seconds: float) -> None:
        self._slot = _current.get()
        self.ends_at = self._slot.requested_at + seconds if self._slot else 0.0
        """On the loop's clock; of no meaning without a slot."""
        self.is_expired = False
        self._connections: set[Any] = set()

    def expire(self) -> None:
        """Cancel the request."""
        self.is_expired = True
        for connection in self._connections:
            connection.terminate()
        self._task.cancel()

    def stop(self) -> None:
        """Let the request take as long as it takes from now on."""
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
        # As asyncio.timeout does it: another cancellation of the task stays one.
        if self.is_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


@contextmanager
def released_slot() -> Iterator[None]:
    """Release the slot of this request while it waits for neither this worker's processor nor its database."""
    slot = _current.get()
    if slot is None:
        yield
        return
    # What runs within, and releases slots itself, has none to release.
    token = _current.set(None)
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
        slot.limiter.reacquire()
        _current.reset(token)
