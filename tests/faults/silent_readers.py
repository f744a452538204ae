"""Clients that request a large response and read nothing of it."""

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

import psutil

RECEIVE_BUFFER_BYTES = 4096
CONNECTION_FILES = 4096


class SilentReaders:
    """Connections that send one request each and read nothing."""

    def __init__(self, address: str, requests: Iterable[bytes], pause: float = 0) -> None:
        """`pause` is the time between two requests."""
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._requests = requests
        self._pause = pause
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(CONNECTION_FILES, hard), hard))
        for request in self._requests:
            connection = socket.socket()
            self._sockets.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, self._address)
            connection.send(request)
            await asyncio.sleep(self._pause)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._sockets:
            connection.close()

    def open_connections(self, workers: list[psutil.Process]) -> int:
        """Return how many connections the workers have not closed.

        The clients can't detect it: their kernel ignores what the server sends beyond their full buffers.
        """
        own = {connection.getsockname()[1] for connection in self._sockets}
        found = [each.raddr for worker in workers for each in worker.net_connections("tcp4")]
        return sum(bool(address) and address.port in own for address in found)

    async def wait_until_closed(self, workers: list[psutil.Process], seconds: float) -> float:
        """Wait until the workers have closed all connections, and return the seconds. Fails after `seconds`."""
        began = time.monotonic()
        while count := self.open_connections(workers):
            assert time.monotonic() < began + seconds, f"{count} connections are open after {seconds} s"
            await asyncio.sleep(1)
        return time.monotonic() - began

    def statuses(self) -> Counter[str]:
        """Return the first lines of the responses that arrived, as far as the kernel still has them."""
        found: Counter[str] = Counter()
        for connection in self._sockets:
            head = b""
            with suppress(OSError):
                head = connection.recv(64, socket.MSG_PEEK)
            found[head.partition(b"\r")[0].decode() or "none"] += 1
        return found
