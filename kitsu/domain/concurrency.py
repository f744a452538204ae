"""How many requests a worker works on at once, and for how long on each. The others wait for their turn, or are told at
once to come again.

Without a bound all that is asked is begun, shares what there is of processor and database, and takes longer the more
there is, until everything runs into its timeouts and nothing is answered any more.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from kitsu.db.engine import checked_out

QUEUE_TIMEOUT_SECONDS = 0.6
"""Seconds that a request waits for its turn. It has to wait for a connection and a statement too, all within three."""
DEADLINE_CHECK_SECONDS = 0.05
"""How often it is looked who takes too long. A timer for each would cost more than all else that is done here."""


class _Turn:
    """What is known of the request that has it."""

    __slots__ = ("came", "limit", "turns")

    def __init__(self, turns: "ConcurrencyLimiter", came: float) -> None:
        self.turns = turns
        self.came = came
        """When it asked for its turn, on the loop's clock."""
        self.limit: RequestDeadline | None = None


_mine: ContextVar[_Turn | None] = ContextVar("turn", default=None)


class ConcurrencyLimiter:
    """Given out to requests; those of a request that waits for something else are given to others meanwhile."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """So many turns `at_once`, and room for so many that wait for one."""
        self._at_once = at_once
        self._room = waiting
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._timed: set[RequestDeadline] = set()
        self._is_looking = False
        self.in_flight = 0
        """Requests that are worked on."""
        self.refused = 0

    async def take(self) -> bool:
        """Whether the request has a turn, until its `end`, at once or after some waiting."""
        loop = asyncio.get_running_loop()
        came = loop.time()
        if self.in_flight < self._at_once:
            self.in_flight += 1
            _mine.set(_Turn(self, came))
            return True
        if len(self._waiting) >= self._room:
            self.refused += 1
            return False
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        # Not a timeout around the waiting: that could end it in the moment in which the turn is given.
        end = loop.call_later(QUEUE_TIMEOUT_SECONDS, self._give_up, turn)
        try:
            is_given = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(turn)
            elif turn.result():
                self.give_back()
            raise
        finally:
            end.cancel()
        if is_given:
            _mine.set(_Turn(self, came))
        return is_given

    def end(self) -> None:
        """The request is answered."""
        _mine.set(None)
        self.give_back()

    def give_back(self) -> None:
        """A turn is free, for good or for a while."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < self._at_once:
            # One after the other, unless there is more to do than can be done: then all would be answered late, where
            # of the newest most are answered soon.
            is_full = len(self._waiting) > self._room // 2
            turn = self._waiting.pop() if is_full else self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(True)

    def resume(self) -> None:
        """One that was given back for a while goes on."""
        self.in_flight += 1

    def time(self, limit: "RequestDeadline") -> None:
        """Cut it when its time is over."""
        self._timed.add(limit)
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(DEADLINE_CHECK_SECONDS, self._look)

    def hold(self, limit: "RequestDeadline") -> None:
        """Its time does not run out."""
        self._timed.discard(limit)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for limit in [limit for limit in self._timed if limit.ends <= now]:
            self._timed.discard(limit)
            limit.cut()
        self._is_looking = bool(self._timed)
        if self._is_looking:
            loop.call_later(DEADLINE_CHECK_SECONDS, self._look)

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
            self.refused += 1
            turn.set_result(False)


class RequestDeadline:
    """Raises TimeoutError so long after the request came, its waiting for a turn included, but not what is `aside`."""

    def __init__(self, seconds: float) -> None:
        self._mine = _mine.get()
        self.ends = self._mine.came + seconds if self._mine else 0.0
        """On the loop's clock; without a turn it means nothing."""
        self.is_late = False
        self._connections: set[Any] = set()

    def cut(self) -> None:
        """The time is over."""
        self.is_late = True
        for connection in self._connections:
            connection.terminate()
        self._task.cancel()

    async def __aenter__(self) -> None:
        if self._mine is not None:
            self._task: Any = asyncio.current_task()
            self._mine.limit = self
            self._mine.turns.time(self)
            checked_out.set(self._connections)

    def stop(self) -> None:
        """Let the request take as long as it takes from now on."""
        if self._mine is not None and self._mine.limit is self:
            self._mine.limit = None
            self._mine.turns.hold(self)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._mine is None:
            return
        self.stop()
        checked_out.set(None)
        # As asyncio.timeout has it: whoever else cancelled the task wants it cancelled.
        if self.is_late and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


@contextmanager
def released_slot() -> Iterator[None]:
    """What a request waits for in here neither needs this worker's processor nor its database: others go on."""
    mine = _mine.get()
    if mine is None:
        yield
        return
    # What is within, and has asides of its own, has no turn to give back.
    token = _mine.set(None)
    clock = asyncio.get_running_loop().time
    began = clock()
    limit = mine.limit
    if limit is not None:
        mine.turns.hold(limit)
    mine.turns.give_back()
    try:
        yield
    finally:
        if limit is not None and not limit.is_late:
            limit.ends += clock() - began
            mine.turns.time(limit)
        mine.turns.resume()
        _mine.reset(token)
