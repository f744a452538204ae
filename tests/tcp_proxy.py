"""Proxies between a service and its PostgreSQL: a plain one, and one that delays each response."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

from sqlalchemy.engine import URL

Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
P = TypeVar("P", bound="TcpProxy")


class TcpProxy:
    """A TCP proxy between a service and its PostgreSQL."""

    def __init__(self, url: URL) -> None:
        self._socket = f"{url.query['host']}/.s.PGSQL.{url.query.get('port', 5432)}"
        self.url = url
        """The URL through the proxy, after `open`."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start listening."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = self.url.set(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1], query={})

    async def close(self) -> None:
        """Close all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def relay_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes from the service to the server."""
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def relay_responses(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes from the server to the service."""
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        self._tasks.add(asyncio.create_task(self._relay(self.relay_requests, reader, to_server)))
        self._tasks.add(asyncio.create_task(self._relay(self.relay_responses, from_server, writer)))

    async def _relay(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await relay(reader, writer)
        finally:
            writer.close()


class SlowProxy(TcpProxy):
    """A proxy that delays each response."""

    delay_seconds = 0.0

    async def relay_responses(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes from the server to the service, after the delay."""
        while data := await reader.read(1 << 16):
            await asyncio.sleep(self.delay_seconds)
            writer.write(data)
            await writer.drain()


@contextmanager
def in_thread(proxy: P) -> Iterator[P]:
    """Run a proxy on an event loop of its own, so that it relays while the test blocks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.open(), loop).result(10)
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def slow_proxy(url: URL) -> AbstractContextManager[SlowProxy]:
    """Run a proxy to the server of this URL that delays its responses."""
    return in_thread(SlowProxy(url))
