"""Look up keys of several requests in one statement, such as the sessions of requests that arrive together.

The first request runs a statement at once. Requests that arrive while it runs share the next statement: no value is
older than its request, and a busy worker sends one statement for many requests.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

MIN_KEYS = 16
"""PostgreSQL caches the plan for an array of ten keys or more, and makes a new one each time for fewer."""

K = TypeVar("K")
V = TypeVar("V")


def padded(keys: list[K]) -> list[K]:
    """Return the keys, with the first one repeated up to MIN_KEYS: a second look-up of a key costs nothing."""
    return keys + keys[:1] * (MIN_KEYS - len(keys))


class BatchLoader(Generic[K, V]):
    def __init__(self, look_up: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`look_up` returns the values of those keys that have one."""
        self._look_up = look_up
        self._is_loading = False
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return the value of a key, or None. Raises what `look_up` raises."""
        if self._is_loading:
            future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, future))
            return await future
        self._is_loading = True
        try:
            return (await self._look_up([key])).get(key)
        except TimeoutError as error:
            _fail(self._waiting, error)
            raise
        finally:
            self._load_next()

    def _load_next(self) -> None:
        self._is_loading = bool(self._waiting)
        if self._is_loading:
            # Runs in an empty context: it serves several requests, so no request's log fields may leak into it.
            self._task = asyncio.create_task(self._load_batch(), context=contextvars.Context())

    async def _load_batch(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            values = await self._look_up([key for key, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each waiting request gets it
            _fail(batch, error)
            if isinstance(error, TimeoutError):
                # Requests that waited for one timeout don't wait for another.
                _fail(self._waiting, error)
        else:
            for key, future in batch:
                if not future.done():
                    future.set_result(values.get(key))
        finally:
            self._load_next()


def _fail(waiting: list[tuple[K, asyncio.Future[V | None]]], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
    waiting.clear()
