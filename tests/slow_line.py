"""A line to the database on which each of its answers is late."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import URL


class SlowLine:
    """Between a service and its PostgreSQL."""

    def __init__(self, url: URL) -> None:
        self._socket = f"{url.query['host']}/.s.PGSQL.{url.query.get('port', 5432)}"
        self.late = 0.0
        """Seconds that each answer takes longer than it does."""
        self.url = url
        """What the service is to use."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = self.url.set(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1], query={})

    async def close(self) -> None:
        """Cut all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        self._tasks.add(asyncio.create_task(self._pass_on(reader, to_server)))
        self._tasks.add(asyncio.create_task(self._pass_on(from_server, writer, is_late=True)))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_late: bool = False
    ) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    if is_late:
                        await asyncio.sleep(self.late)
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()


@contextmanager
def slow_line(url: URL) -> Iterator[SlowLine]:
    """A line to the server of this address, which goes on while the test waits for something else."""
    line = SlowLine(url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(line.open(), loop).result(10)
        yield line
    finally:
        asyncio.run_coroutine_threadsafe(line.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
