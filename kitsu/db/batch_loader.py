"""One statement for what several requests ask at the same time, such as whether their sessions still live.

The first one asks at once. Those that come while its statement is under way wait for it, and are asked together in the
next: none gets an answer older than its question, and a worker that is busy sends a statement for many requests.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

MIN_KEYS = 16
"""Keys at least, in the array of a statement. PostgreSQL keeps a plan for ten, and makes another for less each time."""

K = TypeVar("K")
V = TypeVar("V")


def padded(keys: list[K]) -> list[K]:
    """The keys, and the first of them again and again up to MIN_KEYS: to look up twice what is known costs nothing."""
    return keys + keys[:1] * (MIN_KEYS - len(keys))


class BatchLoader(Generic[K, V]):
    """Looks keys up, as many in one go as there are."""

    def __init__(self, look_up: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`look_up` finds the values of all keys that have one."""
        self._look_up = look_up
        self._is_asking = False
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of a key, None for none. Raises what the look-up raises."""
        if self._is_asking:
            answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, answer))
            return await answer
        self._is_asking = True
        try:
            return (await self._look_up([key])).get(key)
        except TimeoutError as error:
            self._refuse_waiting(error)
            raise
        finally:
            self._go_on()

    def _go_on(self) -> None:
        self._is_asking = bool(self._waiting)
        if self._is_asking:
            # Of nobody's context: it works for others than the request that happens to end here.
            self._task = asyncio.create_task(self._answer(), context=contextvars.Context())

    def _refuse_waiting(self, error: Exception) -> None:
        """Who waited for as long as nobody answered does not wait for as long again."""
        waiting, self._waiting = self._waiting, []
        _refuse(waiting, error)

    async def _answer(self) -> None:
        page_request, self._waiting = self._waiting, []
        try:
            found = await self._look_up([key for key, _ in page_request])
        except asyncio.CancelledError:
            for _, answer in page_request:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each of those who wait gets it
            _refuse(page_request, error)
            if isinstance(error, TimeoutError):
                self._refuse_waiting(error)
        else:
            for key, answer in page_request:
                if not answer.done():
                    answer.set_result(found.get(key))
        finally:
            self._go_on()


def _refuse(page_request: "list[tuple[K, asyncio.Future[V | None]]]", error: Exception) -> None:
    for _, answer in page_request:
        if not answer.done():
            answer.set_exception(error)
