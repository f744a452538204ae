"""The TCP connections of a worker: clients that read nothing of a response are disconnected.

Granian has no timeout for writing. A response that the application gives up does not end its connection either: Hyper
first waits until the client has read what is buffered. So the kernel limits the wait: by `TCP_USER_TIMEOUT`, an option
that accepted connections inherit from the listening socket. Where the system lacks the options, as macOS does, nothing
is limited.
"""

import asyncio
import fcntl
import os
import signal
import socket
import struct
import termios
from array import array
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import structlog

READ_TIMEOUT_SECONDS = 25
"""How long a client may leave the data unread that was sent to it."""
UNSENT_BYTES = 64 * 1024
"""Data of a connection that the kernel takes before it can send it. Its default limit is some MB per connection."""
STOP_READ_TIMEOUT_SECONDS = 2
"""Instead of READ_TIMEOUT_SECONDS while the worker stops, since it waits for its open responses."""
DROP_SECONDS = 0.2
LISTENER_CHECK_SECONDS = 0.05
LISTENER_CHECKS = 200

FILE_DESCRIPTORS = Path("/dev/fd")
TCP_INFO_BYTES = 128
BYTES_ACKED = struct.Struct("@120xQ")
"""`tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h."""

log = structlog.get_logger("kitsu.connections")


class ClientTimeouts:
    """Limits how long clients of this process leave data unread, and shortens the limit when the process stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._port: int | None = None
        self._is_stopping = self._has_disconnected = False

    async def start(self) -> None:
        """Begin. Granian opens the listening socket after this, and handles the signals already."""
        if not hasattr(socket, "TCP_USER_TIMEOUT"):
            return
        loop = asyncio.get_running_loop()
        self._run(self._limit())
        # Granian has no hook for the beginning of a stop: its own handler runs through the loop, beside this one.
        before = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)
            loop.call_soon_threadsafe(self.shorten)

        signal.signal(signal.SIGTERM, stop)
        signal.siginterrupt(signal.SIGTERM, False)  # noqa: FBT003 - takes no keyword

    async def stop(self) -> None:
        """End. It is safe to call without a start."""
        for task in self._tasks:
            task.cancel()
        if self._has_disconnected:
            # Granian's threads panic when they drop a response that Python's end has overtaken.
            await asyncio.sleep(DROP_SECONDS)

    def shorten(self) -> None:
        """Disconnect clients that read nothing for STOP_READ_TIMEOUT_SECONDS."""
        if not self._is_stopping:
            self._is_stopping = True
            self._run(self._disconnect())

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _limit(self) -> None:
        """Set the options as soon as there is a listening socket."""
        for _ in range(LISTENER_CHECKS):
            if self._set_options():
                return
            await asyncio.sleep(LISTENER_CHECK_SECONDS)
        log.warning("listening socket not found")

    def _set_options(self) -> bool:
        for listener in _tcp_sockets():
            if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._port = listener.getsockname()[1]
                _limit(listener)
        if self._port is None:
            return False
        # Those that were accepted before.
        for connection in _tcp_sockets():
            if connection.getsockname()[1] == self._port:
                _limit(connection)
        return True

    async def _disconnect(self) -> None:
        clock = asyncio.get_running_loop().time
        progress: dict[object, tuple[int, float]] = {}
        while True:
            now = clock()
            for connection in _tcp_sockets():
                with suppress(OSError):  # it is closed meanwhile, or listens
                    peer = connection.getpeername()
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
                    (acked,) = BYTES_ACKED.unpack_from(info)
                    # Without unread data the client waits for its response, and must get it.
                    is_waiting = connection.getsockname()[1] != self._port or not _unread_bytes(connection)
                    if is_waiting or progress.get(peer, (None,))[0] != acked:
                        progress[peer] = acked, now
                    elif now - progress[peer][1] >= STOP_READ_TIMEOUT_SECONDS:
                        connection.shutdown(socket.SHUT_RDWR)
                        self._has_disconnected = True
            await asyncio.sleep(STOP_READ_TIMEOUT_SECONDS / 4)


def _limit(tcp: socket.socket) -> None:
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, READ_TIMEOUT_SECONDS * 1000)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _unread_bytes(connection: socket.socket) -> int:
    """Return how much the kernel holds that the client has not acknowledged."""
    size = array("i", [0])
    fcntl.ioctl(connection, termios.TIOCOUTQ, size)
    return size[0]


def _tcp_sockets() -> Iterator[socket.socket]:
    """Yield the TCP sockets of this process, each under a file descriptor of its own and for one step only."""
    for path in FILE_DESCRIPTORS.iterdir():
        with suppress(OSError):  # closed meanwhile
            number = os.dup(int(path.name))
            try:
                found = socket.socket(fileno=number)
            except OSError:  # not a socket
                os.close(number)
                continue
            with found:
                if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                    yield found
