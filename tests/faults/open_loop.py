"""An open-loop load generator: it sends at a rate, without waiting for responses."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

RESPONSE_TIMEOUT_SECONDS = 15.0
"""How long responses may take after the last request."""
TICK_SECONDS = 0.002


class Result(NamedTuple):
    """The result of a request."""

    status: int
    """0: there was no response."""
    seconds: float


class OpenLoop:
    """Sends thousands of requests a second from one processor, over keep-alive connections.

    It parses only the HTTP that Kitsu's responses need: each has Content-Length.
    """

    def __init__(self, address: str, request: Callable[[], bytes]) -> None:
        """`request` returns the bytes of the next request."""
        self._host, _, self._port = address.partition(":")
        self._request = request
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self.results: list[Result] = []
        self._arrived = asyncio.Event()

    async def send_at_rate(self, rate: float, seconds: float) -> float:
        """Send `rate` requests a second, wait for the responses, and return the seconds of sending."""
        began = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            for _ in range(int(elapsed * rate) - sent):
                self._send()
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        await self._wait_for_responses(sent)
        return elapsed

    async def send_by_clients(self, clients: int, seconds: float) -> float:
        """Send by clients that wait for each response; return the seconds of sending."""
        began = time.monotonic()
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    for _ in range(clients - (sent - len(self.results))):
                        self._send()
                        sent += 1
                    self._arrived.clear()
                    await self._arrived.wait()
        elapsed = time.monotonic() - began
        await self._wait_for_responses(sent)
        return elapsed

    async def _wait_for_responses(self, sent: int) -> None:
        """Wait for the outstanding responses; those that do not arrive get status 0."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                while len(self.results) < sent:
                    self._arrived.clear()
                    await self._arrived.wait()
        self.results += [Result(0, RESPONSE_TIMEOUT_SECONDS)] * (sent - len(self.results))

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0.1)

    def _send(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.send(self._request())
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
            self._add(Result(0, time.monotonic() - began))
        else:
            connection.send(request, began)

    def _add(self, result: Result) -> None:
        self.results.append(result)
        self._arrived.set()

    def _done(self, connection: "_Connection", result: Result) -> None:
        self._add(result)
        self._idle.append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, done: Callable[["_Connection", Result], None]) -> None:
        self._done = done
        self.is_open = True
        self._began: float | None = None
        self._read = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.abort()

    def send(self, request: bytes, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        if len(body) >= int(length.split(b"\r\n", 1)[0]):
            self._finish(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        if self._began is not None:
            self._finish(0)

    def _finish(self, status: int) -> None:
        assert self._began is not None
        result = Result(status, time.monotonic() - self._began)
        self._began, self._read = None, b""
        self._done(self, result)
