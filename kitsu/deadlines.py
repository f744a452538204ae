"""Time limits that are checked together. A timer for each takes a tenth of the time of a short request."""

import asyncio
from types import TracebackType
from typing import Any

CHECK_SECONDS = 0.05
"""Interval of the checks. A limit ends up to this much late."""


class Deadlines:
    """The limits that are in force, of tasks of one event loop."""

    def __init__(self) -> None:
        self._active: set[Deadline] = set()
        self._is_checking = False

    def after(self, seconds: float) -> "Deadline":
        """Return a limit that ends some seconds from now."""
        return Deadline(self, asyncio.get_running_loop().time() + seconds)

    def add(self, deadline: "Deadline", loop: asyncio.AbstractEventLoop) -> None:
        self._active.add(deadline)
        if not self._is_checking:
            self._is_checking = True
            loop.call_later(CHECK_SECONDS, self._check, loop)

    def discard(self, deadline: "Deadline") -> None:
        self._active.discard(deadline)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [deadline for deadline in self._active if deadline.ends_at <= now]:
            self._active.discard(deadline)
            deadline.expire()
        self._is_checking = bool(self._active)
        if self._active:
            loop.call_later(CHECK_SECONDS, self._check, loop)


class Deadline:
    """A context that raises TimeoutError once `ends_at` has passed, like `asyncio.timeout_at`. It can be used again."""

    __slots__ = ("_deadlines", "_task", "ends_at", "is_expired")

    def __init__(self, deadlines: Deadlines, ends_at: float) -> None:
        self._deadlines = deadlines
        self._task: Any = None
        self.ends_at = ends_at
        """On the loop's clock; infinite: there is no limit."""
        self.is_expired = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._deadlines.add(self, self._task.get_loop())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._deadlines.discard(self)
        # As in asyncio.timeout: another cancellation of the task is not replaced.
        if self.is_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the task."""
        self.is_expired = True
        self._task.cancel()
