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

from kitsu.db.engine import IN_HAND

PATIENCE = 0.6
"""Seconds that a request waits for its turn. It has to wait for a connection and a statement too, all within three."""
LOOK_SECONDS = 0.05
"""How often it is looked who takes too long. A timer for each would cost more than all else that is done here."""


class _Turn:
    """What is known of the request that has it."""

    __slots__ = ("came", "connections", "ends", "is_late", "task", "turns")

    def __init__(self, turns: "Turns", came: float) -> None:
        self.turns = turns
        self.came = came
        """When it asked for its turn, on the loop's clock."""
        self.ends: float | None = None
        """When it has to be answered."""
        self.is_late = False
        self.task: asyncio.Task[object] | None = None
        self.connections: set[Any] = set()


_mine: ContextVar[_Turn | None] = ContextVar("turn", default=None)


class Turns:
    """Given out to requests; those of a request that waits for something else are given to others meanwhile."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """So many turns `at_once`, and room for so many that wait for one."""
        self._at_once = at_once
        self._room = waiting
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._timed: set[_Turn] = set()
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
        end = loop.call_later(PATIENCE, self._give_up, turn)
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

    def time(self, turn: _Turn) -> None:
        """Cancel the turn's task when its time is over."""
        self._timed.add(turn)
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def hold(self, turn: _Turn) -> None:
        """Its time does not run out."""
        self._timed.discard(turn)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for turn in [turn for turn in self._timed if turn.ends is not None and turn.ends <= now]:
            self._timed.discard(turn)
            if turn.task is not None:
                turn.is_late = True
                for connection in turn.connections:
                    connection.terminate()
                turn.task.cancel()
        self._is_looking = bool(self._timed)
        if self._is_looking:
            loop.call_later(LOOK_SECONDS, self._look)

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
            self.refused += 1
            turn.set_result(False)


class InTime:
    """Raises TimeoutError so long after the request came, its waiting for a turn included, but not what is `aside`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._mine = _mine.get()

    async def __aenter__(self) -> None:
        mine = self._mine
        if mine is not None:
            mine.task = asyncio.current_task()
            mine.ends = mine.came + self._seconds
            mine.turns.time(mine)
            IN_HAND.set(mine.connections)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        mine = self._mine
        if mine is None:
            return
        mine.ends = None
        mine.turns.hold(mine)
        IN_HAND.set(None)
        # As asyncio.timeout has it: whoever else cancelled the task wants it cancelled.
        if mine.is_late and mine.task is not None and mine.task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


@contextmanager
def aside() -> Iterator[None]:
    """What a request waits for in here neither needs this worker's processor nor its database: others go on."""
    mine = _mine.get()
    if mine is None:
        yield
        return
    # What is within, and has asides of its own, has no turn to give back.
    token = _mine.set(None)
    clock = asyncio.get_running_loop().time
    began = clock()
    mine.turns.hold(mine)
    mine.turns.give_back()
    try:
        yield
    finally:
        if mine.ends is not None and not mine.is_late:
            mine.ends += clock() - began
            mine.turns.time(mine)
        mine.turns.resume()
        _mine.reset(token)
