"""Log events that come in bursts, as when the database is away: one line at once, then one a second with a count."""

import asyncio
import time
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

INTERVAL_SECONDS = 1.0

_Key = tuple[str, tuple[tuple[str, Any], ...]]


@dataclass(slots=True)
class _Burst:
    began: float
    count: int = 0


class BurstLog:
    """Writes warnings. Further ones with the same event and fields within a second are counted."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._bursts: dict[_Key, _Burst] = {}

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event, with what is known of its request, or count it."""
        key = event, tuple(fields.items())
        burst = self._bursts.get(key)
        # The timer of an event loop that has ended never fires.
        if burst is not None and time.monotonic() < burst.began + 2 * INTERVAL_SECONDS:
            burst.count += 1
            return
        self._log.warning(event, **fields)
        self._begin(key)

    def _begin(self, key: _Key) -> None:
        self._bursts[key] = _Burst(time.monotonic())
        # In an empty context: the count is of several requests.
        asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._end, key, context=Context())

    def _end(self, key: _Key) -> None:
        if count := self._bursts.pop(key).count:
            event, fields = key
            self._log.warning(event, **dict(fields), count=count)
            self._begin(key)
