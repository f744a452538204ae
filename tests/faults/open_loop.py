"""Clients that come whether those before them were answered or not, as the world's do."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

QUEUE_TIMEOUT_SECONDS = 15.0
"""Seconds behind the last request until all answers must be there."""
TICK = 0.002


class Took(NamedTuple):
    """What a request came to."""

    status: int
    """0: none."""
    seconds: float


class OpenLoop:
    """Sends requests over kept connections, with so little done for each that one processor sends thousands a second.

    HTTP is spoken here as far as Kitsu's answers need it: each says how long it is.
    """

    def __init__(self, address: str, request: Callable[[], bytes]) -> None:
        """`request` makes the next one."""
        self._host, _, self._port = address.partition(":")
        self._request = request
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self.answers: list[Took] = []
        self._news = asyncio.Event()

    async def at_rate(self, rate: float, seconds: float) -> float:
        """Send so many a second for so long, and wait for the answers. Returns how long it has sent."""
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(int(passed * rate) - sent):
                self._send()
                sent += 1
            await asyncio.sleep(TICK)
        await self._settle(sent)
        return passed

    async def by_clients(self, clients: int, seconds: float) -> float:
        """So many clients who wait for their answer before they ask again. Returns how long they have asked."""
        began = time.monotonic()
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    for _ in range(clients - (sent - len(self.answers))):
                        self._send()
                        sent += 1
                    self._news.clear()
                    await self._news.wait()
        passed = time.monotonic() - began
        await self._settle(sent)
        return passed

    async def _settle(self, sent: int) -> None:
        """Wait for the answers that are missing, and count those that do not come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(QUEUE_TIMEOUT_SECONDS):
                while len(self.answers) < sent:
                    self._news.clear()
                    await self._news.wait()
        self.answers += [Took(0, QUEUE_TIMEOUT_SECONDS)] * (sent - len(self.answers))

    async def close(self) -> None:
        """Hang up."""
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0.1)

    def _send(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.ask(self._request())
                return
        task = asyncio.create_task(self._open(self._request()))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes) -> None:
        began = time.monotonic()
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._done), self._host, int(self._port)
            )
        except OSError:
            self._came(Took(0, time.monotonic() - began))
        else:
            connection.ask(request, began)

    def _came(self, took: Took) -> None:
        self.answers.append(took)
        self._news.set()

    def _done(self, connection: "_Connection", took: Took) -> None:
        self._came(took)
        self._idle.append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, done: Callable[["_Connection", Took], None]) -> None:
        self._done = done
        self.is_open = True
        self._began: float | None = None
        self._read = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.abort()

    def ask(self, request: bytes, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        if len(body) >= int(length.split(b"\r\n", 1)[0]):
            self._answered(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        if self._began is not None:
            self._answered(0)

    def _answered(self, status: int) -> None:
        assert self._began is not None
        took = Took(status, time.monotonic() - self._began)
        self._began, self._read = None, b""
        self._done(self, took)
