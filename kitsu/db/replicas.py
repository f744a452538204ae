"""Read at replicas: the catalogue, and a viewer's own lists.

Of the catalogue a replica must have every change that this worker has heard of; of a viewer's own lists, what the
viewer's client has written.

Each worker asks its replicas several times a second how far they are. One that does not answer, or that lacks what the
primary had a second ago, is left out; without one that can be used, the primary is read.
"""

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog
from sqlalchemy import ColumnElement, Executable, func, literal_column, select
from sqlalchemy.engine import URL

from kitsu.db.engine import Timeouts
from kitsu.db.errors import is_unavailable
from kitsu.db.statements import StatementReader, StatementRunner

log = structlog.get_logger("kitsu.replicas")

CHECK_SECONDS = 0.25
MAX_LAG_SECONDS = 1.0
"""A replica may lack what the primary wrote during this time."""

reads_primary: ContextVar[bool] = ContextVar("reads_primary", default=False)
"""Whether this request reads only the primary, as an editor's, who sees each change at once."""
own_position: ContextVar[float] = ContextVar("own_position", default=math.inf)
"""The position after the last write of this request's client, from which its own lists may be read at a replica."""

_START: ColumnElement[str] = literal_column("'0/0'")
_WRITTEN = select(func.pg_wal_lsn_diff(func.pg_current_wal_lsn(), _START))
_REPLAYED = select(func.pg_wal_lsn_diff(func.pg_last_wal_replay_lsn(), _START))
# Unlike _WRITTEN it includes a commit that is not on the disk yet, with `synchronous_commit=off`.
_COMMITTED = select(func.pg_wal_lsn_diff(func.pg_current_wal_insert_lsn(), _START))

CONNECT_SECONDS, STATEMENT_SECONDS = 0.5, 0.8
"""The limits of a replica, so that one that does not answer leaves time for the primary."""


class Replica:
    """A replica, and how far it was when it last answered."""

    def __init__(self, name: str, runner: StatementRunner) -> None:
        self.name, self.runner = name, runner
        self.position = -1.0
        """Bytes of the write-ahead log that it has replayed; -1 while it does not answer."""
        self.is_used = False


class ReplicaReader(StatementReader):
    """Runs statements that only read at the usable replicas in turn, and at the primary without one."""

    def __init__(self, replicas: "Replicas", needed: Callable[[], float]) -> None:
        """`needed` returns the position that a replica must have reached."""
        self._replicas, self._needed = replicas, needed

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return all rows of a statement. Raises TimeoutError."""
        replica = None if reads_primary.get() else self._replicas.next(self._needed())
        if replica is not None:
            try:
                return await replica.runner.rows(statement, parameters)
            except Exception as error:
                if not is_unavailable(error):
                    raise
                replica.position = -1.0  # until it answers
        return await self._replicas.primary.rows(statement, parameters)


class Replicas:
    """Knows how far the replicas and the primary are."""

    def __init__(self, primary: StatementRunner, replicas: Sequence[Replica]) -> None:
        self.primary, self._replicas = primary, replicas
        self._turns = itertools.count()
        self._needed = math.inf
        """The position that a replica must have reached to have the catalogue."""
        self._written: deque[tuple[float, float]] = deque()
        """When the primary was asked, on the monotonic clock, and its positions, the oldest first."""
        self._has_changed = asyncio.Event()
        self.catalogue = ReplicaReader(self, lambda: self._needed)
        self.own_lists = ReplicaReader(self, lambda: max(own_position.get(), self._least()))

    def next(self, needed: float) -> Replica | None:
        """Return one of the replicas that have reached a position, in turn, or None."""
        usable = [each for each in self._replicas if each.position >= needed]
        return usable[next(self._turns) % len(usable)] if usable else None

    async def position(self) -> int | None:
        """Return the position after what was committed, or None if the primary does not tell."""
        position = await _position(self.primary, _COMMITTED)
        return int(position) if isinstance(position, float) else None

    def usable(self) -> int:
        """Return how many replicas are read."""
        return sum(each.position >= self._needed for each in self._replicas)

    def changed(self) -> None:
        """Read the primary until a replica has the change that was just committed."""
        self._needed = math.inf
        self._has_changed.set()

    def connected(self) -> None:
        """Listen again: changes may have been missed."""
        self.changed()

    def disconnected(self) -> None:
        """Go on with what the primary had a second ago."""

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Check the replicas in the background until the context ends."""
        loops = [self._follow_primary(), *(self._follow(each) for each in self._replicas)]
        tasks = [asyncio.create_task(each) for each in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in self._replicas:
                each.runner.close()

    async def _follow_primary(self) -> None:
        while True:
            has_changed = self._has_changed.is_set()
            self._has_changed.clear()
            position = await _position(self.primary, _WRITTEN)
            # While the primary is away nothing is committed: what a replica has stays good.
            if isinstance(position, float):
                if self._written and position < self._written[-1][1]:  # another server has become the primary
                    self._written.clear()
                    self._needed = math.inf
                self._note_written(position)
                if has_changed or math.isinf(self._needed):
                    self._needed = position
                self._needed = max(self._needed, self._least())
                if self._has_changed.is_set():  # during the query
                    self._needed = math.inf
            elif has_changed:
                self._has_changed.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_changed.wait(), CHECK_SECONDS)

    def _note_written(self, position: float) -> None:
        now = time.monotonic()
        self._written.append((now, position))
        # By time, since each change of the catalogue is a check. The next check may be late by its interval.
        while len(self._written) > 1 and self._written[1][0] <= now - MAX_LAG_SECONDS + CHECK_SECONDS:
            self._written.popleft()

    def _least(self) -> float:
        """Return the position that a replica must have reached to be used at all."""
        return self._written[0][1] if self._written else math.inf

    async def _follow(self, replica: Replica) -> None:
        while True:
            position = await _position(replica.runner, _REPLAYED)
            replica.position = position if isinstance(position, float) else -1.0
            is_used = replica.position >= self._least()
            if is_used != replica.is_used:
                replica.is_used = is_used
                if is_used:
                    log.info("replica is used", replica=replica.name)
                else:
                    reason = "late" if isinstance(position, float) else position
                    log.warning("replica is left out", replica=replica.name, reason=reason)
            await asyncio.sleep(CHECK_SECONDS / 2)


def replicas_of(urls: Sequence[URL], primary: StatementRunner, timeouts: Timeouts, **options: Any) -> Replicas | None:
    """Return the replicas, if there are any. `options` are those of a StatementRunner."""
    limits = msgspec.structs.replace(
        timeouts, connect=min(timeouts.connect, CONNECT_SECONDS), statement=min(timeouts.statement, STATEMENT_SECONDS)
    )
    replicas = [
        Replica(f"{url.host}:{url.port or 5432}", StatementRunner(url, timeouts=limits, **options)) for url in urls
    ]
    return Replicas(primary, replicas) if replicas else None


async def _position(runner: StatementRunner, statement: Executable) -> float | str:
    """Return a position in the write-ahead log, or why it is unknown."""
    try:
        async with asyncio.timeout(2 * CHECK_SECONDS):
            value = await runner.value(statement)
    except Exception as error:  # noqa: BLE001 - a replica may fail in any way
        return type(error).__name__
    return "not a replica" if value is None else float(value)
