"""How many requests a worker works on at once. The others wait for their turn, or are told at once to come again.

Without a bound all that is asked is begun, shares what there is of processor and database, and takes longer the more
there is, until everything runs into its timeouts and nothing is answered any more.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

PATIENCE = 0.6
"""Seconds that a request waits for its turn. It has to wait for a connection and a statement too, all within three."""

_mine: "ContextVar[Turns | None]" = ContextVar("turns", default=None)


class Turns:
    """Given out to requests; those of a request that waits for something else are given to others meanwhile."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """So many turns `at_once`, and room for so many that wait for one."""
        self._at_once = at_once
        self._room = waiting
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self.in_flight = 0
        """Requests that are worked on."""
        self.refused = 0

    async def take(self) -> bool:
        """Whether there is a turn, to be given back, at once or after some waiting."""
        _mine.set(self)
        if self.in_flight < self._at_once:
            self.in_flight += 1
            return True
        if len(self._waiting) >= self._room:
            self.refused += 1
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        # Not a timeout around the waiting: that could end it in the moment in which the turn is given.
        end = loop.call_later(PATIENCE, self._give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(turn)
            elif turn.result():
                self.give_back()
            raise
        finally:
            end.cancel()

    def give_back(self) -> None:
        """A turn is over."""
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

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
            self.refused += 1
            turn.set_result(False)


@contextmanager
def aside() -> Iterator[None]:
    """What a request waits for in here neither needs this worker's processor nor its database: others go on."""
    turns = _mine.get()
    if turns is None:
        yield
        return
    turns.give_back()
    try:
        yield
    finally:
        turns.resume()
